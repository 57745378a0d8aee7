from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from bridge.config.converting import PROBLEMS_MAX
from bridge.errors import ConfigError
from bridge.fleet.registry import Circle, DeviceEntry, DeviceLimits
from bridge.fleet.registry_file import parse_registry

SAMPLE = Path(__file__).parents[2] / "config" / "devices.toml"
WHERE = 'registry file "x"'


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_registry(text.encode(), WHERE)
    return list(caught.value.problems)


def test_the_sample_has_every_key_and_every_way_to_write_a_device() -> None:
    entries = parse_registry(SAMPLE.read_bytes(), WHERE)

    assert {
        "dev-0001": DeviceEntry(
            type="thermometer",
            location="hall-3",
            expected_interval_s=60.0,
            priority="medium",
            gateway="gw-01",
            limits=DeviceLimits(per_device_per_s=2.0, burst=10),
        ),
        "truck-17": DeviceEntry(
            type="tracker",
            location=Circle(latitude=52.52, longitude=13.405, radius_m=25_000.0),
            expected_interval_s=300.0,
        ),
        "dev-0002": DeviceEntry(type="thermometer", location="hall-3", gateway="gw-01"),
        "dev-0003": DeviceEntry(type="thermometer", location="hall-4", enabled=False),
        "gw-01": DeviceEntry(type="gateway", location="hall-3", priority="high"),
    } == entries
    text = SAMPLE.read_text(encoding="utf-8")
    assert [] == [key for key in DeviceEntry.__struct_fields__ if f"{key} = " not in text]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "", ": device: there is no device; write [device.ID] for each", id="an empty file"
        ),
        pytest.param(
            "[device]", " line 1: device: there is no device; write [device.ID] for each", id="none"
        ),
        pytest.param(
            "[devices.a]\ntype = 'x'",
            ' line 1: devices: unknown key; meant "device"?',
            id="misspelt table",
        ),
        pytest.param(
            "[[device]]\nid = 'a'",
            " line 1: device: Expected table, got an array",
            id="an array of devices",
        ),
        pytest.param(
            "[device.a]\n\ntyp = 'x'",
            ' line 3: device.a.typ: unknown key; meant "type"?',
            id="misspelt key",
        ),
        pytest.param(
            "[device]\na = {}\nb = 5", " line 3: device.b: Expected table, got 5", id="no table"
        ),
        pytest.param(
            "[device.a]\nenabled = 'no'",
            ' line 2: device.a.enabled: Expected bool, got "no"; write true or false',
            id="a word for true or false",
        ),
        pytest.param(
            "[device.a]\npriority = 'hihg'",
            ' line 2: device.a.priority: Expected one of "high", "medium", "low", got "hihg";'
            ' meant "high"?',
            id="misspelt choice",
        ),
        pytest.param(
            "[device.a]\nexpected_interval_s = 0",
            " line 2: device.a.expected_interval_s: Expected float > 0.0, got 0",
            id="no interval",
        ),
        pytest.param(
            "[device.a]\nexpected_interval_s = nan",
            " line 2: device.a.expected_interval_s: Expected float > 0.0, got nan",
            id="not a number",
        ),
        pytest.param(
            "[device.a]\nlimits = { per_device_per_s = inf }",
            " line 2: device.a.limits.per_device_per_s: Expected a finite number, got inf",
            id="a limit without end",
        ),
        pytest.param(
            "[device.a.location]\nlatitude = 95\nlongitude = 0\nradius_m = 1",
            " line 2: device.a.location.latitude: Expected float <= 90.0, got 95",
            id="beyond the pole",
        ),
        pytest.param(
            "[device.a.location]\nlatitude = 9\nlongitude = 0\nradius_m = 0",
            " line 4: device.a.location.radius_m: Expected float > 0.0, got 0",
            id="a circle without room",
        ),
        pytest.param(
            "[device.a]\nlocation = { latitude = 1, longitude = 0 }",
            " line 2: device.a.location: Object missing required field radius_m, got a table",
            id="a circle without radius",
        ),
        pytest.param(
            "[device.a]\nlocation = { latitude = 1, longitud = 0, radius_m = 1 }",
            ' line 2: device.a.location.longitud: unknown key; meant "longitude"?',
            id="misspelt key of a circle",
        ),
        pytest.param(
            "[device.a]\nlocation = 7",
            " line 2: device.a.location: Expected str | table, got 7; write it in quotes",
            id="a number for a place",
        ),
        pytest.param(
            '[device.a]\nlocation = "a\\u001b"',
            " line 2: device.a.location: the name of a site has a control or unprintable character;"
            " remove it",
            id="a site that moves the cursor",
        ),
        pytest.param(
            f"[device.a]\ntype = '{'x' * 65}'",
            " line 2: device.a.type: a device type has 65 characters; write 1 to 64",
            id="a long type",
        ),
        pytest.param(
            "[device.'a b']\ntype = 'x'",
            ' line 1: device."a b": is no device id; it has 1 to 64 characters of A-Z a-z 0-9 _ -',
            id="no device id",
        ),
        pytest.param(
            "[device.a]\ngateway = 'g/1'",
            " line 2: device.a.gateway: is no device id; write that of the gateway, of A-Z a-z 0-9"
            " _ -",
            id="no gateway id",
        ),
        pytest.param(
            "[device.a]\n[device.a]",
            " line 2: is no valid TOML: Cannot declare ('device', 'a') twice, column 10;"
            " a line is key = value, and text stands in quotes",
            id="the same device twice",
        ),
        pytest.param(
            "[device.a]\ntype = x",
            " line 2: is no valid TOML: Invalid value, column 8;"
            " a line is key = value, and text stands in quotes",
            id="no TOML",
        ),
    ],
)
def test_a_registry_that_cannot_be_used_is_refused_with_line_value_and_remedy(
    text: str, problem: str
) -> None:
    assert [f"{WHERE}{problem}"] == problems_of(text)


def test_every_problem_comes_at_once_in_the_order_of_the_file() -> None:
    text = """\
[device.a]
enabled = 1
typ = "x"
[device.b]
type = "fine"
[device."c d"]
expected_interval_s = -1
[device.e]
gateway = "?"
[gateway]
"""

    problems = problems_of(text)

    assert [
        f"{WHERE} line 2: device.a.enabled",
        f"{WHERE} line 3: device.a.typ",
        f'{WHERE} line 6: device."c d"',
        f'{WHERE} line 7: device."c d".expected_interval_s',
        f"{WHERE} line 9: device.e.gateway",
        f"{WHERE} line 10: gateway",
    ] == [": ".join(problem.split(": ")[:2]) for problem in problems]


@pytest.mark.parametrize("line", ["type = 5", 'gateway = "?"'], ids=["a type", "a rule"])
def test_a_file_that_is_wrong_throughout_is_refused_in_few_lines(line: str) -> None:
    text = "".join(f"[device.d{n}]\n{line}\n" for n in range(1_000))

    problems = problems_of(text)

    assert PROBLEMS_MAX <= len(problems) <= PROBLEMS_MAX + 1
    assert f"{WHERE} line 2: device.d0." in problems[0]


@given(
    st.dictionaries(
        st.text("ab0_-", min_size=1, max_size=8),
        st.builds(DeviceEntry, type=st.text("xyz", max_size=3), enabled=st.booleans()),
        min_size=1,
    )
)
def test_what_is_written_for_a_device_is_what_is_read(entries: dict[str, DeviceEntry]) -> None:
    text = "[device]\n" + "".join(
        f'{name} = {{ type = "{entry.type}", enabled = {str(entry.enabled).lower()} }}\n'
        for name, entry in entries.items()
    )

    assert entries == parse_registry(text.encode(), WHERE)
