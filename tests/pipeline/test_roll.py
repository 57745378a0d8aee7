"""What a batch tells of the devices themselves: who was heard, at what time of their own."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from bridge.config.sections import Route, ValidationSection
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.mqtt.packets import Inbound, PoisonPublish
from bridge.pipeline.flow import Flow
from bridge.pipeline.roll import Presence, Roll
from tests.pipeline.given import RECEIVED, Packet, message

MEASURED_US = 1_795_455_324_123_000
ROUTES = (
    Route(),
    Route(filter="devices/+/status", kafka_topic="status", kind="opaque", presence=True),
    Route(filter="devices/+/alarm", kafka_topic="alarms", kind="opaque"),
    Route(filter="gateways/+/batch", kafka_topic="telemetry-raw", kind="batch"),
)


def called(packets: Sequence[Inbound], registry: Registry | None = None) -> Roll:
    roll = Roll()
    flow = Flow(
        routes=ROUTES,
        dead_letter_topic="telemetry-dlq",
        validation=ValidationSection(),
        entropy=bytes,
        registry=registry,
        roll=roll,
    )
    flow.process(packets, RECEIVED)
    return roll


def heard(roll: Roll) -> list[tuple[bytes, int | None]]:
    return list(zip(roll.devices, roll.measured_us, strict=True))


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        pytest.param(Packet(), [(b"dev-0001", MEASURED_US)], id="telemetry"),
        pytest.param(Packet(retain=True), [], id="a retained copy"),
        pytest.param(Packet(retain=True, payload=b"{"), [], id="a bad retained copy"),
        pytest.param(Packet(payload=b"{"), [(b"dev-0001", None)], id="not decodable"),
        pytest.param(
            Packet(payload=message(timestamp="2027-01-01T00:00:00Z")),
            [(b"dev-0001", 1_798_761_600_000_000)],
            id="a wrong clock",
        ),
        pytest.param(
            Packet(payload=message(metrics={})), [(b"dev-0001", None)], id="wrong otherwise"
        ),
        pytest.param(Packet(topic="devices/a b/telemetry"), [], id="no device id"),
        pytest.param(Packet(topic="elsewhere"), [], id="no route"),
        pytest.param(
            Packet(topic="devices/dev-0001/alarm"), [(b"dev-0001", None)], id="opaque bytes"
        ),
        pytest.param(
            PoisonPublish(
                topic="devices/dev-0001/telemetry",
                payload=b"",
                packet_id=1,
                is_too_large=True,
                detail="large",
                payload_bytes=1 << 24,
                payload_sha256="",
            ),
            [(b"dev-0001", None)],
            id="poison",
        ),
    ],
)
def test_every_message_that_is_not_retained_was_heard(
    packet: Inbound, expected: list[tuple[bytes, int | None]]
) -> None:
    assert expected == heard(called([packet]))


def test_what_comes_again_was_heard_again() -> None:
    assert [(b"dev-0001", MEASURED_US)] * 2 == heard(called([Packet(), Packet()]))


def test_a_retained_copy_among_others_was_not_heard() -> None:
    packets = [Packet(), Packet(retain=True), Packet(topic="devices/dev-0001/alarm"), Packet()]

    assert [(b"dev-0001", MEASURED_US)] == heard(called(packets[:2]))
    assert 3 == len(heard(called(packets)))


def test_of_a_batch_each_device_is_heard_with_its_newest_reading_and_the_sender_too() -> None:
    registry = Registry()
    registry.replace({"d1": DeviceEntry(gateway="g1"), "d2": DeviceEntry(gateway="g1")})

    roll = called([_batch("g1", [("d1", 1), ("d2", 5), ("d1", 3), ("stranger", 9)])], registry)

    assert [(b"g1", None), (b"d1", _second(3)), (b"d2", _second(5))] == heard(roll)


def test_a_device_behind_a_gateway_is_heard_though_its_reading_is_rejected() -> None:
    registry = Registry()
    registry.replace({name: DeviceEntry(gateway="g1") for name in ("late", "wrong", "both")})
    month_s = 30 * 86_400
    batch = _batch("g1", [("wrong", 2), ("late", -month_s), ("both", 3), ("both", -month_s)])
    payload = batch.payload.replace(b'{"a": 1}', b"{}", 1)

    roll = called([Packet(topic=batch.topic, payload=payload)], registry)

    assert [
        (b"g1", None),
        (b"wrong", None),
        (b"late", _second(-month_s)),
        (b"both", _second(3)),
    ] == heard(roll)


def test_a_sender_of_its_own_readings_is_heard_once() -> None:
    assert [(b"g1", _second(2))] == heard(called([_batch("g1", [("g1", 1), ("g1", 2)])]))


def test_presence_stands_where_it_came_and_is_no_message_of_its_device() -> None:
    packets = [
        Packet(),
        Packet(topic="devices/dev-2/status", payload=b"offline"),
        Packet(),
        Packet(topic="devices/dev-3/status", payload=b"online", retain=True),
    ]

    roll = called(packets)

    assert [b"dev-0001"] * 2 == roll.devices
    assert [
        Presence(1, b"dev-2", is_online=False, is_retained=False),
        Presence(2, b"dev-3", is_online=True, is_retained=True),
    ] == roll.presences


def test_what_says_neither_word_is_a_message_like_any_other() -> None:
    packets = [
        Packet(topic=f"devices/{device}/status", payload=b"sleeping", retain=is_retained)
        for device, is_retained in (("now", False), ("past", True))
    ]

    roll = called(packets)

    assert [(b"now", None)] == heard(roll)
    assert [] == roll.presences


def test_a_cleared_roll_begins_anew() -> None:
    roll = called([Packet(), Packet(topic="devices/dev-2/status", payload=b"offline")])

    roll.clear()

    assert ([], [], []) == (roll.devices, roll.measured_us, roll.presences)


def _batch(gateway: str, readings: list[tuple[str, int]]) -> Packet:
    body: dict[str, Any] = {
        "batch_id": "b",
        "readings": [
            {"device_id": name, "timestamp": _second(at) / 1e6, "metrics": {"a": 1}}
            for name, at in readings
        ],
    }
    return Packet(topic=f"gateways/{gateway}/batch", payload=json.dumps(body).encode())


def _second(number: int) -> int:
    return MEASURED_US - MEASURED_US % 1_000_000 - 60_000_000 + number * 1_000_000


class BrokenRoll(Roll):
    """A stage with a bug of ours."""

    def _add(self, *_: object) -> None:
        raise RuntimeError("broken")


def test_a_bug_in_the_roll_costs_no_message_and_is_kept_to_be_told() -> None:
    roll = BrokenRoll()
    flow = Flow(
        routes=(Route(),),
        dead_letter_topic="dlq",
        validation=ValidationSection(),
        entropy=bytes,
        roll=roll,
    )

    outcomes = flow.process([Packet(), Packet(payload=b"{}")], RECEIVED)

    assert 2 == len(outcomes)
    assert isinstance(roll.fault, RuntimeError)
    assert [] == roll.devices
