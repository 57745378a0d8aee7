"""W3C Trace Context from User Properties to headers, by the rules of the specification."""

import re

import pytest
from hypothesis import given, strategies as st

from bridge.config.sections import Route, ValidationSection
from bridge.pipeline.flow import Flow
from bridge.pipeline.trace_context import TraceTally, sound_state
from tests.pipeline.given import Packet, headers, records_of

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ANOTHER = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00"


def carried(
    *sent: tuple[str, str], payload: bytes | None = None
) -> tuple[dict[str, str], TraceTally]:
    """Give the headers of trace context on the one record, and what was counted."""
    tally = TraceTally()
    flow = Flow(
        routes=(Route(),),
        dead_letter_topic="telemetry-dlq",
        validation=ValidationSection(),
        entropy=lambda size: b"\xff" * size,
        traces=tally,
    )
    packet = Packet(user_properties=list(sent))
    if payload is not None:
        packet = Packet(user_properties=list(sent), payload=payload)
    (record,) = records_of(flow, [packet])
    names = ("traceparent", "tracestate")
    return {name: text for name, text in headers(record).items() if name in names}, tally


@pytest.mark.parametrize("payload", [None, b"not json"], ids=["telemetry", "a dead letter"])
def test_trace_context_goes_along_as_it_came(payload: bytes | None) -> None:
    found, tally = carried(("traceparent", PARENT), ("tracestate", "a=1, b=2"), payload=payload)

    assert {"traceparent": PARENT, "tracestate": "a=1, b=2"} == found
    assert TraceTally() == tally


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([("traceparent", "x"), ("tracestate", "a=1")], id="no traceparent"),
        pytest.param([("traceparent", PARENT.upper())], id="upper case"),
        pytest.param([("traceparent", PARENT), ("traceparent", ANOTHER)], id="two of them"),
        pytest.param([("traceparent", PARENT), ("traceparent", PARENT)], id="twice"),
    ],
)
def test_a_malformed_traceparent_is_counted_and_nothing_of_it_goes_along(
    sent: list[tuple[str, str]],
) -> None:
    found, tally = carried(*sent)

    assert {} == found
    assert TraceTally(traceparent=1) == tally


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("a", id="no value"),
        pytest.param("a=", id="an empty value"),
        pytest.param("A=1", id="a key in upper case"),
        pytest.param("a b=1", id="a key with a blank"),
        pytest.param("=1", id="no key"),
        pytest.param("a=1=2", id="a value with an equals sign"),
        pytest.param("a=é", id="not ASCII"),
        pytest.param("a=1\n", id="a line end"),
        pytest.param("k" * 257 + "=1", id="a long key"),
        pytest.param("a=" + "x" * 257, id="a long value"),
        pytest.param(",".join(f"k{i}=1" for i in range(33)), id="33 members"),
        pytest.param("a=1," * 2_000, id="far too long"),
    ],
)
def test_a_malformed_tracestate_is_counted_and_the_traceparent_goes_without_it(state: str) -> None:
    found, tally = carried(("traceparent", PARENT), ("tracestate", state))

    assert {"traceparent": PARENT} == found
    assert TraceTally(tracestate=1) == tally


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("a=1", id="one"),
        pytest.param("1a@system=x/y", id="a tenant"),
        pytest.param("a*b/c_d-e=!~", id="every kind of character"),
        pytest.param("a=1,,b=2 ,\tc=3", id="empty members and blanks"),
        pytest.param(",".join(f"k{i}=1" for i in range(32)), id="32 members"),
        pytest.param("k" * 256 + "=" + "x" * 255, id="512 characters"),
    ],
)
def test_a_sound_tracestate_goes_along_unchanged(state: str) -> None:
    found, tally = carried(("traceparent", PARENT), ("tracestate", state))

    assert state == found["tracestate"]
    assert TraceTally() == tally


def test_a_tracestate_in_several_properties_is_one_list() -> None:
    found, _ = carried(("tracestate", "a=1"), ("traceparent", PARENT), ("tracestate", "b=2"))

    assert "a=1,b=2" == found["tracestate"]


@pytest.mark.parametrize("state", ["a=1", "?"])
def test_a_tracestate_without_a_traceparent_means_nothing(state: str) -> None:
    assert ({}, TraceTally()) == carried(("tracestate", state))


def test_an_empty_tracestate_is_no_header_and_no_fault() -> None:
    assert ({"traceparent": PARENT}, TraceTally()) == carried(
        ("traceparent", PARENT), ("tracestate", " , ")
    )


def test_of_too_long_a_list_large_members_leave_first_and_then_those_at_the_right() -> None:
    large = "large=" + "x" * 200
    small = [f"k{i:02}=" + "x" * 96 for i in range(6)]

    assert ",".join(small[:5]) == sound_state(",".join([large, *small]))


_MEMBERS = st.lists(
    st.from_regex(re.compile(r"[a-z][a-z0-9]{0,20}=[!-+\--<>-~]{1,200}", re.ASCII), fullmatch=True),
    max_size=32,
)


@given(_MEMBERS)
def test_what_goes_along_is_bounded_and_a_part_of_what_came_in_its_order(
    members: list[str],
) -> None:
    found = sound_state(",".join(members))

    if len(",".join(members)) > 4_096:
        assert found is None
        return
    assert found is not None
    assert len(found) <= 512
    kept = [each for each in found.split(",") if each]
    rest = iter(members)
    assert all(each in rest for each in kept)
    if len(",".join(members)) <= 512:
        assert members == kept


@given(st.text(max_size=600))
def test_no_text_makes_it_raise(text: str) -> None:
    found = sound_state(text)

    assert found is None or len(found) <= 512
