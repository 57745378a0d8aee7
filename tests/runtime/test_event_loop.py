"""Which event loop the process runs on."""

import asyncio
import sys

import pytest
import uvloop

from bridge.errors import ConfigError
from bridge.runtime.event_loop import VARIABLE, choose_loop, name_of


def test_without_a_word_it_is_uvloop_where_that_is_installed() -> None:
    assert choose_loop({}) is uvloop.new_event_loop


def test_without_a_word_it_is_asyncio_where_uvloop_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)

    assert choose_loop({}) is None


@pytest.mark.parametrize(("wanted", "expected"), [("asyncio", "asyncio"), ("uvloop", "uvloop")])
def test_the_environment_chooses(wanted: str, expected: str) -> None:
    with asyncio.Runner(loop_factory=choose_loop({VARIABLE: wanted})) as runner:
        assert expected == name_of(runner.get_loop())


def test_what_is_asked_for_and_not_installed_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)

    with pytest.raises(ConfigError) as refused:
        choose_loop({VARIABLE: "uvloop"})

    (problem,) = refused.value.problems
    assert problem.startswith("environment variable BRIDGE_EVENT_LOOP: ")
    assert problem.endswith("pip install 'mqtt-kafka-bridge[fast]'")


def test_another_loop_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        choose_loop({VARIABLE: "trio"})

    assert refused.value.problems == (
        'environment variable BRIDGE_EVENT_LOOP: Expected "asyncio" or "uvloop", got "trio"',
    )
