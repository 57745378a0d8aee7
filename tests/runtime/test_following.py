"""One device is followed: its messages are told, those of others are not, and it ends by itself."""

import io
import json
from typing import Any

from bridge.config.sections import Route, ValidationSection
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.kafka.record import Record
from bridge.kafka.shipment import Shipment
from bridge.mqtt.ack_ledger import Receipt
from bridge.observe.catalogue.entry import Level
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.pipeline.flow import Flow
from bridge.pipeline.verdict import Several
from bridge.runtime.following import EVENTS_PER_S, Following
from bridge.runtime.witnesses import Witnesses
from tests.pipeline.given import DEVICE, RECEIVED, Packet, message

ROUTES = (
    Route(),
    Route(filter="gateways/+/batch", kind="batch"),
)


class Stand:
    """A flow, a log that writes warnings only, and a clock that the test turns."""

    def __init__(self) -> None:
        self.now_s = RECEIVED.monotonic_s
        self._stream = io.StringIO()
        log = EventLog(level=Level.WARNING, lines=StreamLines(self._stream), renderer=render_json)
        self.witnesses = Witnesses()
        self.following = Following(
            self.witnesses, lambda: ROUTES, log=log, monotonic_s=lambda: self.now_s
        )
        duplicates = Duplicates(DedupWindow(ttl_s=3_600, keys_max=1_000, keys_min=0))
        self.flow = Flow(
            routes=ROUTES,
            dead_letter_topic="telemetry-dlq",
            validation=ValidationSection(),
            entropy=lambda size: b"\xff" * size,
            duplicates=duplicates,
        )

    def carry(self, *packets: Packet) -> None:
        """Let the flow judge packets, and Kafka confirm at once what comes of them."""
        outcomes = self.flow.process(packets, RECEIVED)
        if self.witnesses.is_on:
            self.witnesses.judged(packets, outcomes, RECEIVED)
        for packet, outcome in zip(packets, outcomes, strict=True):
            receipt = Receipt(packet.packet_id or 0)
            singles = getattr(outcome, "outcomes", [outcome])
            for each in singles:
                records = each.records if isinstance(each, Several) else [each]
                for number, record in enumerate(records):
                    if isinstance(record, Record):
                        shipment = Shipment(number, record, receipt, 0, 7.0)
                        self.witnesses.note_place(shipment, 2, 11)
                        self.witnesses.confirmed([shipment], RECEIVED.monotonic_s + 0.5)

    def events(self, name: str = "message_followed") -> list[dict[str, Any]]:
        """Read what was logged."""
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]


def test_a_good_message_is_told_whatever_the_level_of_the_log() -> None:
    stand = Stand()
    stand.following.begin(DEVICE, for_s=600)

    stand.carry(Packet(packet_id=5))

    (event,) = stand.events()
    key = event.pop("idempotency_key")
    for name in ("timestamp", "event"):
        event.pop(name)
    assert {
        "level": "debug",
        "device_id": DEVICE,
        "mqtt_topic": f"devices/{DEVICE}/telemetry",
        "packet_id": 5,
        "verdict": "accepted",
        "end": "produced",
        "kafka_topic": "telemetry-raw",
        "partition": 2,
        "offset": 11,
        "latency_s": 0.5,
    } == event
    assert key.startswith(f"{DEVICE}:")


def test_other_devices_make_no_noise() -> None:
    stand = Stand()
    stand.following.begin("somebody", for_s=600)

    stand.carry(Packet(), Packet(payload=b"not json"))

    assert [] == stand.events()


def test_a_dead_letter_is_told_with_its_reason_and_its_id() -> None:
    stand = Stand()
    stand.following.begin(DEVICE, for_s=600)

    stand.carry(Packet(payload=b"not json"))

    (event,) = stand.events()
    assert ("rejected", "not_decodable", "telemetry-dlq") == (
        event["verdict"],
        event["reason"],
        event["kafka_topic"],
    )
    assert 36 == len(event["dlq_id"])


def test_a_duplicate_is_told_when_it_is_judged() -> None:
    stand = Stand()
    stand.following.begin(DEVICE, for_s=600)

    stand.carry(Packet(packet_id=1), Packet(packet_id=2))

    assert [("duplicate", "known", "under_way", 2)] == [
        (e["verdict"], e["end"], e["reason"], e["packet_id"])
        for e in stand.events()
        if e["end"] == "known"
    ]


def test_each_reading_of_a_batch_is_told_with_its_place_in_the_batch() -> None:
    stand = Stand()
    stand.following.begin("gateway-1", for_s=600)
    readings = [
        {"timestamp": "2026-11-23T17:35:24Z", "metrics": {"temperature": 20.5}},
        {"timestamp": "2026-11-23T17:35:24Z", "metrics": {"temperature": 20.5}},
        {"timestamp": "2026-11-23T17:35:23Z", "metrics": []},
    ]
    body = {"device_id": "gateway-1", "batch_id": "b-1", "readings": readings}
    packet = Packet(
        payload=json.dumps(body).encode(), topic="gateways/gateway-1/batch", packet_id=9
    )

    stand.carry(packet)

    told = {
        (e["verdict"], e.get("reading_index"), e.get("packet_id"), e.get("batch_id"))
        for e in stand.events()
    }
    assert {
        ("accepted", 0, 9, "b-1"),
        ("duplicate", 1, 9, None),
        ("rejected", 2, 9, "b-1"),
    } == told


def test_a_device_whose_id_breaks_the_rules_can_be_followed() -> None:
    stand = Stand()
    stand.following.begin("no good id", for_s=600)

    stand.carry(Packet(topic="devices/no good id/telemetry"))

    assert ["device_id_invalid"] == [each["reason"] for each in stand.events()]


def test_a_device_that_floods_floods_no_log() -> None:
    stand = Stand()
    stand.following.begin(DEVICE, for_s=600)

    for number in range(3 * EVENTS_PER_S):
        stand.carry(Packet(payload=message(number=number)))
    written = len(stand.events())
    stand.now_s += 1.0
    stand.carry(Packet(payload=message(number="last")))
    stand.following.end("stopped")

    assert EVENTS_PER_S == written
    assert 2 * EVENTS_PER_S == stand.events()[-1]["suppressed"]
    (ended,) = stand.events("follow_ended")
    assert (3 * EVENTS_PER_S + 1, 2 * EVENTS_PER_S) == (ended["messages"], ended["left_out"])


def test_following_ends_by_itself() -> None:
    stand = Stand()
    stand.following.begin(DEVICE, for_s=600)

    stand.now_s += 599.0
    stand.following.tick()
    still = stand.following.device_id
    stand.now_s += 1.0
    stand.following.tick()
    stand.carry(Packet())

    assert (DEVICE, None) == (still, stand.following.device_id)
    assert ["expired"] == [each["cause"] for each in stand.events("follow_ended")]
    assert not stand.witnesses.is_on
    assert [] == stand.events()


def test_the_next_device_takes_the_place_of_the_one_before() -> None:
    stand = Stand()
    stand.following.begin("somebody", for_s=600)

    stand.following.begin(DEVICE, for_s=60)
    stand.carry(Packet())

    assert [("somebody", "replaced")] == [
        (each["device_id"], each["cause"]) for each in stand.events("follow_ended")
    ]
    assert [DEVICE] == [each["device_id"] for each in stand.events()]
