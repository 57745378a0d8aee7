from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec

from benchmarks.figures import BASELINE, PROMISE, as_json
from benchmarks.plots import main
from benchmarks.svg import draw_bars
from tests.benchmarks.given import given_drain

_SVG = "{http://www.w3.org/2000/svg}"


def _all(drawn: bytes, name: str) -> list[ET.Element]:
    return ET.fromstring(drawn).findall(_SVG + name)  # noqa: S314 - we wrote it ourselves


def _bars(drawn: bytes) -> list[ET.Element]:
    return _all(drawn, "rect")[1:]  # The first is the ground.


def _texts(drawn: bytes) -> list[str]:
    return [each.text or "" for each in _all(drawn, "text")]


def test_bars_are_as_long_as_their_values_and_say_them() -> None:
    drawn = draw_bars("A & <b>", {"x": [("", 50.0)], "y": [("", 100.0)]}, digits=1)

    short, long = (float(each.get("width", "")) for each in _bars(drawn))
    assert long == 2 * short
    assert ["A & <b>", "x", "50.0", "y", "100.0"] == _texts(drawn)


def test_several_series_have_a_colour_each_and_a_legend() -> None:
    drawn = draw_bars("t", {"p50": [("a", 1.0), ("b", 2.0)], "p99": [("b", 4.0)]}, digits=0)

    fills = [each.get("fill") for each in _bars(drawn)]
    assert fills[1] == fills[2] != fills[0]
    assert fills[3:] == fills[:2]  # The legend.
    assert ["a", "b"] == _texts(drawn)[-2:]


def test_the_names_of_many_series_stand_beside_and_below_one_another() -> None:
    names = [f"number {number}" for number in range(5)]

    drawn = draw_bars("t", {"p50": [(name, 1.0) for name in names]}, digits=0)

    keys = _bars(drawn)[len(names) :]
    assert len(names) == len({each.get("fill") for each in keys})
    places = [(float(each.get("x", "")), float(each.get("y", ""))) for each in keys]
    assert len(names) == len(set(places))
    assert 2 == len({y for _, y in places})
    height = float(ET.fromstring(drawn).get("viewBox", "").split()[3])  # noqa: S314 - ours
    assert height > max(y for _, y in places) + 14


def test_what_was_measured_becomes_pictures_of_its_medians(tmp_path: Path) -> None:
    drains = [
        given_drain(name, number, cpu_s=cpu_s)
        for number, (name, cpu_s) in enumerate(
            [(PROMISE, 10.0), (PROMISE, 30.0), (PROMISE, 11.0), (BASELINE, 110.0)]
        )
    ]
    measured = tmp_path / "drain.json"
    measured.write_bytes(as_json(drains, {}))
    grown = tmp_path / "growth.json"
    grown.write_bytes(
        msgspec.json.encode({"10 devices": drains[:1], "100,000 devices": drains[1:2]})
    )

    code = main([f"--to={tmp_path}", f"--drain={measured}", f"--growth={grown}"])

    assert code == 0
    assert ["bridge", "11.0", "aiomqtt, json", "110.0"] == _texts(
        (tmp_path / "drain-cpu.svg").read_bytes()
    )[1:]
    assert "100,000 devices" in _texts((tmp_path / "growth-devices.svg").read_bytes())
