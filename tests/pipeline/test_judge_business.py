from typing import Any

import pytest

from bridge.config.sections import ValidationSection
from bridge.fleet.registry import UNREGISTERED, Circle, DeviceEntry, Registry
from bridge.pipeline.judge import Judge
from bridge.pipeline.verdict import Flag, Layer, Reason

BERLIN = Circle(latitude=52.52, longitude=13.405, radius_m=30_000)
IN_HALL = DeviceEntry(location="hall-3")
NEAR_BERLIN = DeviceEntry(location=BERLIN)
HAMBURG = {"latitude": 53.5511, "longitude": 9.9937}
POTSDAM = {"latitude": 52.4009, "longitude": 13.0591}
FAR = (
    "the device is at 53.55110, 9.99370, 255.3 km from 52.52000, 13.40500,"
    " the registry allows 30.0 km"
)
RECALLED = ("1.4.2", ">=2.0.0,<2.0.7")


def flags(
    entry: DeviceEntry | None,
    metadata: dict[str, Any] | None = None,
    *,
    recalled: tuple[str, ...] = (),
    judge: Judge | None = None,
) -> list[Flag]:
    judging = judge or Judge(ValidationSection(firmware_recalled=recalled))
    message: dict[str, Any] = {"device_id": "dev-1", "metrics": {"t": 1}}
    if metadata is not None:
        message["metadata"] = metadata
    return list(judging.judge(message, "dev-1", entry))


@pytest.mark.parametrize(
    ("entry", "reason", "detail"),
    [
        (UNREGISTERED, Reason.DEVICE_UNKNOWN, 'device "dev-1" is not in the registry'),
        (
            DeviceEntry(enabled=False),
            Reason.DEVICE_DISABLED,
            'device "dev-1" is disabled in the registry',
        ),
    ],
    ids=["unknown", "disabled"],
)
def test_a_device_that_should_not_speak_is_flagged(
    entry: DeviceEntry, reason: Reason, detail: str
) -> None:
    assert [Flag(reason, Layer.BUSINESS, detail)] == flags(entry)


@pytest.mark.parametrize(
    ("entry", "metadata", "detail"),
    [
        pytest.param(
            IN_HALL,
            {"location": "hall-4"},
            'metadata.location is "hall-4", the registry expects "hall-3"',
            id="another site",
        ),
        pytest.param(
            IN_HALL,
            {"location": "\x1b[2J"},
            r'metadata.location is "\x1b[2J", the registry expects "hall-3"',
            id="a site that moves the cursor",
        ),
        pytest.param(NEAR_BERLIN, {"location": HAMBURG}, FAR, id="outside the circle"),
        pytest.param(NEAR_BERLIN, HAMBURG, FAR, id="outside, beside the other metadata"),
        pytest.param(
            NEAR_BERLIN, {"location": "x", **HAMBURG}, FAR, id="outside, and the site has a name"
        ),
        pytest.param(
            NEAR_BERLIN,
            {"latitude": "52.5", "longitude": 13.4},
            'metadata.latitude is "52.5", expected a number from -90 to 90',
            id="latitude in words",
        ),
        pytest.param(
            NEAR_BERLIN,
            {"location": {"latitude": 52.5, "longitude": 181}},
            "metadata.location.longitude is 181, expected a number from -180 to 180",
            id="no such longitude",
        ),
        pytest.param(
            DeviceEntry(location=Circle(latitude=0, longitude=180, radius_m=100)),
            {"latitude": 0, "longitude": -179.998},
            "the device is at 0.00000, -179.99800, 222 m from 0.00000, 180.00000,"
            " the registry allows 100 m",
            id="across the date line",
        ),
    ],
)
def test_a_device_that_is_elsewhere_is_flagged(
    entry: DeviceEntry, metadata: dict[str, Any], detail: str
) -> None:
    assert [Flag(Reason.LOCATION_UNEXPECTED, Layer.BUSINESS, detail)] == flags(entry, metadata)


@pytest.mark.parametrize(
    ("entry", "metadata"),
    [
        pytest.param(IN_HALL, None, id="no metadata"),
        pytest.param(IN_HALL, {"location": "hall-3"}, id="the site"),
        pytest.param(IN_HALL, {"location": None}, id="null"),
        pytest.param(IN_HALL, {"location": 7}, id="no name"),
        pytest.param(IN_HALL, HAMBURG, id="coordinates where a site is expected"),
        pytest.param(NEAR_BERLIN, {"location": "hall-4"}, id="a site where a circle is expected"),
        pytest.param(NEAR_BERLIN, {"location": POTSDAM}, id="within the circle"),
        pytest.param(NEAR_BERLIN, {"latitude": 1.0}, id="half a place"),
        pytest.param(NEAR_BERLIN, {"latitude": None, "longitude": None}, id="no fix"),
        pytest.param(DeviceEntry(), {"location": "anywhere"}, id="nothing expected"),
    ],
)
def test_a_place_that_fits_or_cannot_be_compared_is_not_flagged(
    entry: DeviceEntry, metadata: dict[str, Any] | None
) -> None:
    assert [] == flags(entry, metadata)


@pytest.mark.parametrize(
    ("sent", "shown", "recall"),
    [
        ("1.4.2", '"1.4.2"', "1.4.2"),
        ("v1.4.2", '"v1.4.2"', "1.4.2"),
        ("2.0.6-rc1", '"2.0.6-rc1"', ">=2.0.0,<2.0.7"),
        (2.0, "2.0", ">=2.0.0,<2.0.7"),
    ],
)
def test_recalled_firmware_is_flagged_with_what_recalls_it(
    sent: object, shown: str, recall: str
) -> None:
    found = flags(DeviceEntry(), {"firmware_version": sent}, recalled=RECALLED)

    detail = (
        f'metadata.firmware_version is {shown}, recalled by "{recall}"'
        " (validation.firmware_recalled)"
    )
    assert [Flag(Reason.FIRMWARE_RECALLED, Layer.BUSINESS, detail)] == found


@pytest.mark.parametrize("sent", ["1.4.3", "2.0.7", "x", None, True, {}, "1.4.2" + "x" * 100])
def test_other_firmware_is_not_flagged(sent: object) -> None:
    assert [] == flags(DeviceEntry(), {"firmware_version": sent}, recalled=RECALLED)
    assert [] == flags(DeviceEntry(), {}, recalled=RECALLED)


def test_made_up_versions_displace_no_verdict() -> None:
    judge = Judge(ValidationSection(firmware_recalled=RECALLED))
    for number in range(5_000):
        flags(DeviceEntry(), {"firmware_version": f"9.{number}"}, judge=judge)

    found = flags(DeviceEntry(), {"firmware_version": "1.4.2"}, judge=judge)

    assert [Reason.FIRMWARE_RECALLED] == [flag.reason for flag in found]


def test_all_that_is_wrong_with_one_device_is_said_in_one_order() -> None:
    entry = DeviceEntry(enabled=False, location="hall-3")
    metadata = {"location": "hall-4", "firmware_version": "1.4.2", "battery_level": 101}

    found = flags(entry, metadata, recalled=RECALLED)

    assert [
        (Layer.SEMANTIC, Reason.OUT_OF_RANGE),
        (Layer.BUSINESS, Reason.DEVICE_DISABLED),
        (Layer.BUSINESS, Reason.LOCATION_UNEXPECTED),
        (Layer.BUSINESS, Reason.FIRMWARE_RECALLED),
    ] == [(flag.layer, flag.reason) for flag in found]


def test_without_a_known_registry_nothing_is_said_of_a_device() -> None:
    registry = Registry()

    found = flags(registry.look_up("dev-1"), {"firmware_version": "1.4.2"}, recalled=RECALLED)

    assert [] == found


def test_a_device_is_unknown_only_once_the_registry_is_known() -> None:
    registry = Registry()
    registry.replace({"dev-2": DeviceEntry()})

    found = flags(registry.look_up("dev-1"))

    assert [Reason.DEVICE_UNKNOWN] == [flag.reason for flag in found]
    assert [] == flags(registry.look_up("dev-2"))
