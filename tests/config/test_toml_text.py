"""TOML that nobody writes on purpose: refused with words, and without minutes of work."""

from pathlib import Path

import pytest

from bridge.config import toml_text
from bridge.config.paths import LEVELS_MAX, too_deep
from bridge.errors import ConfigError
from bridge.fleet.registry_file import parse_registry
from tests.config.support import problems_of

DEEP = "is nested too deeply; a few levels are all there are"


def dotted(levels: int) -> str:
    return ".".join(["a"] * levels)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param(f"{dotted(3_000)} = 1", " line 1", id="dotted key"),
        # Minutes, if it came to the parser: it looks at each beginning of a key.
        pytest.param(f"\n{dotted(400_000)} = 1", " line 2", id="very long dotted key"),
        pytest.param(f"[{dotted(1_200)}]", " line 1", id="header"),
        pytest.param(f"x = {{ {dotted(1_200)} = 1 }}", " line 1", id="inline table"),
        pytest.param(".".join(['"a"'] * 1_200) + " = 1", " line 1", id="quoted key"),
        pytest.param(f"{dotted(LEVELS_MAX + 2)} = 1", ": a.a", id="one level too many"),
        pytest.param("x = " + "[" * 100 + "1" + "]" * 100, ": x[0]", id="arrays"),
        pytest.param("x = " + "[" * 5_000 + "1" + "]" * 5_000, "", id="arrays to no end"),
    ],
)
def test_what_is_nested_too_deeply_is_refused_in_either_file(
    text: str, place: str, tmp_path: Path
) -> None:
    assert [f'config file "x.toml"{place}: {DEEP}'] == problems_of(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        parse_registry(text.encode(), "registry")
    assert (f"registry{place}: {DEEP}",) == caught.value.problems


def test_what_has_many_points_and_no_depth_is_read() -> None:
    identifier = ".".join(map(str, range(128)))
    text = f'oids = ["{identifier}", "{identifier}", "{identifier}"]\nx = [{"1.5, " * 1_000}]'

    assert [identifier] * 3 == toml_text.parse(text, "file")["oids"]


def test_depth_is_counted_where_it_is_greatest() -> None:
    deep: object = 1
    for _ in range(LEVELS_MAX):
        deep = {"a": deep}

    assert too_deep({"x": [1, 2], "y": 1, "a": {}, "z": deep["a"]}) is None  # type: ignore[index]
    assert ("z", *["a"] * LEVELS_MAX) == too_deep({"x": {"y": 1}, "z": {"a": deep}})


@pytest.mark.parametrize("is_variable", [True, False])
def test_a_layer_above_the_file_is_no_deeper(tmp_path: Path, *, is_variable: bool) -> None:
    environment = {"BRIDGE__A" + "__A" * 3_000: "1"} if is_variable else {}
    overrides = [] if is_variable else [f"{dotted(3_000)}=1"]

    (problem,) = problems_of(tmp_path, "", environment=environment, overrides=overrides)

    assert "has more than 32 levels; no key has" in problem


def test_a_value_of_a_layer_that_is_too_deep_is_a_text(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "", overrides=["mqtt.port=" + "[" * 300 + "]" * 300])

    assert "mqtt.port: Expected int" in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [("BRIDGE__MQTT__HOST", "a\udcff"), ("BRIDGE__MQTT__HO\udcff", "a")],
    ids=["value", "name"],
)
def test_a_variable_that_is_no_text_is_named(tmp_path: Path, name: str, value: str) -> None:
    shown = name.encode("ascii", "backslashreplace").decode()

    problems = problems_of(tmp_path, "", environment={name: value})

    assert [f'environment variable "{shown}": is not UTF-8; write it as text'] == problems


def test_a_file_that_is_longer_than_anybodys_is_refused(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "#" * 1_048_577)

    assert ['config file "x.toml" is longer than 1048576 bytes; is it the right file?'] == problems
