"""What goes together comes out as if each packet had come alone: same records, same order."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from bridge.config.sections import RANGES, LimitsSection, Route, ValidationSection
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.fleet.limits import Limits
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.kafka.record import Instant, Record
from bridge.mqtt.packets import Inbound, PoisonPublish
from bridge.pipeline.allowance import Allowance
from bridge.pipeline.flow import Flow, Outcome
from bridge.pipeline.identity import AddressBook
from bridge.pipeline.policy import Policy
from bridge.pipeline.together import TOGETHER
from bridge.pipeline.usual import are_plain, decode_all, read_usual, write_usual
from bridge.pipeline.validate import TimeBounds
from tests.pipeline.given import MESSAGE, RECEIVED, Packet

NO_RANGES = ValidationSection(ranges=dict.fromkeys(RANGES, ()))
ROUTES = (
    Route(),
    Route(filter="packed/+/telemetry", format="msgpack"),
    Route(filter="logs/+/lines", kind="opaque", kafka_topic="logs"),
    Route(filter="devices/+/telemetry/batch", kind="batch"),
    Route(filter="tiny/+/telemetry", payload_bytes_max=300, kafka_topic="tiny"),
)

devices = st.sampled_from(("dev-1", "dev-2", "dev-3"))
usual_times = st.integers(0, 9).map(lambda n: f"2026-11-23T17:35:{10 + n}.{n}Z")
odd_times = st.sampled_from(
    (
        *("2026-11-23T17:35:24+00:00", "2026-11-23 17:35:24Z", "2026-11-23T17:35:24"),
        *("2026-13-23T17:35:24Z", "0000-01-01T00:00:00Z", "2027-11-23T17:35:24Z"),
        *("2020-11-23T17:35:24Z", "2026-11-23T17:35:24.1234567Z", "", "yesterday"),
        *(1_795_455_324, 1_795_455_324_123, 1.5e9, True, None, 10**30),
    )
)
numbers = st.sampled_from((0, -1, 21.5, 1e300, 10**25, True, None, "x", [1], {"a": 1}))
metrics: st.SearchStrategy[object] = st.one_of(
    st.just(MESSAGE["metrics"]),
    st.dictionaries(
        st.sampled_from(("temperature", "humidity", "", "n" * 128, "n" * 129, "é")), numbers
    ),
    st.sampled_from(([], None, {f"m{n}": n for n in range(1_001)}, 7)),
)
metadata = st.sampled_from((MESSAGE["metadata"], {}, None, [], {"note": "x" * 300}, {"a": [[1]]}))


@st.composite
def usual_bodies(draw: st.DrawFn, device: str) -> bytes:
    body: dict[str, Any] = {**MESSAGE, "device_id": device, "timestamp": draw(usual_times)}
    body["metrics"] = {"temperature": draw(st.sampled_from((20.0, 21.5, 500.0)))}
    return json.dumps(body).encode()


@st.composite
def odd_bodies(draw: st.DrawFn, device: str) -> bytes:
    body: dict[str, Any] = {**MESSAGE, "device_id": device, "timestamp": draw(usual_times)}
    match draw(st.integers(0, 8)):
        case 0:
            body["timestamp"] = draw(odd_times)
        case 1:
            body["metrics"] = draw(metrics)
        case 2:
            body["metadata"] = draw(metadata)
        case 3:
            body["device_id"] = draw(st.sampled_from(("dev-9", "", 7, None, "dev 1")))
        case 4:
            body |= {"server_received_at": "x", "warnings": [1], "timestamp_sent": 5}
        case 5:
            del body[draw(st.sampled_from(("device_id", "timestamp", "metrics", "metadata")))]
        case 6:
            depth = draw(st.sampled_from((5, 31, 40)))
            body["deep"] = json.loads("[" * depth + "]" * depth)
        case 7:
            return draw(
                st.sampled_from((b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"a":NaN}', b"\x80"))
            )
        case _:
            body["note"] = "\U0001f600" * draw(st.integers(0, 200))
    return json.dumps(body).encode()


def poison(topic: str, payload: bytes) -> PoisonPublish:
    return PoisonPublish(
        topic=topic,
        payload=payload,
        packet_id=1,
        is_too_large=False,
        detail="text that is not well-formed UTF-8",
        payload_bytes=len(payload),
        payload_sha256="0" * 64,
    )


@st.composite
def packets(draw: st.DrawFn) -> Inbound:  # noqa: PLR0911 - one for each kind
    device = draw(devices)
    topic = f"devices/{device}/telemetry"
    if draw(st.integers(0, 9)) < 7:
        return Packet(payload=draw(usual_bodies(device)), topic=topic)
    payload = draw(st.one_of(usual_bodies(device), odd_bodies(device)))
    match draw(st.integers(0, 7)):
        case 0:
            return Packet(payload=payload, topic=topic, retain=True)
        case 1:
            return Packet(payload=payload, topic=topic, content_type="application/json")
        case 2:
            key = draw(st.sampled_from(("k1", "k2")))
            return Packet(payload, topic, user_properties=[("idempotency-key", key)])
        case 3:
            return poison(topic, payload)
        case 4:
            kinds = ("packed/{}/telemetry", "logs/{}/lines", "devices/{}/telemetry/batch")
            other = draw(st.sampled_from((*kinds, "tiny/{}/telemetry", "nowhere/{}")))
            return Packet(payload=payload, topic=other.format(device))
        case 5:
            return Packet(payload=payload, topic="devices/not valid/telemetry")
        case _:
            return Packet(payload=payload, topic=topic)


def make_window() -> DedupWindow:
    return DedupWindow(ttl_s=3_600.0, keys_max=10_000, keys_min=10)


def make_flow(
    validation: ValidationSection,
    registered: dict[str, DeviceEntry] | None = None,
    limits: LimitsSection | None = None,
    window: DedupWindow | None = None,
) -> Flow:
    registry = Registry()
    if registered is not None:
        registry.replace(registered)
    duplicates = Duplicates(window or make_window())
    duplicates.begin(RECEIVED.monotonic_s)
    return Flow(
        routes=ROUTES,
        dead_letter_topic="letters",
        validation=validation,
        entropy=lambda size: b"\xff" * size,
        duplicates=duplicates,
        policy=Policy.of(
            validation,
            registry,
            None if limits is None else Allowance.of(limits, ROUTES, Limits()),
        ),
    )


def told(outcomes: Sequence[Outcome]) -> list[object]:
    return [msgspec.to_builtins(each, builtin_types=(bytes,)) for each in outcomes]


@settings(max_examples=300, deadline=None)
@given(
    sent=st.sampled_from((1, 5, 20, TOGETHER + 9)).flatmap(
        lambda count: st.lists(packets(), min_size=count, max_size=count)
    ),
    validation=st.sampled_from((NO_RANGES, ValidationSection())),
    registered=st.sampled_from(
        (None, {"dev-1": DeviceEntry(), "dev-2": DeviceEntry(enabled=False)})
    ),
    limits=st.sampled_from(
        (
            None,
            LimitsSection(per_device_per_s=1, burst=3),
            LimitsSection(per_device_per_s=1, burst=2, on_exceed="drop"),
        )
    ),
    is_clock_trusted=st.booleans(),
)
def test_packets_that_come_together_become_what_each_becomes_alone(
    sent: list[Inbound],
    validation: ValidationSection,
    registered: dict[str, DeviceEntry] | None,
    limits: LimitsSection | None,
    *,
    is_clock_trusted: bool,
) -> None:
    windows = make_window(), make_window()
    together, alone = (make_flow(validation, registered, limits, each) for each in windows)
    for each in (together, alone):
        each.trust_clock(is_trusted=is_clock_trusted)

    outcomes = together.process(sent, RECEIVED)

    one_by_one = [outcome for each in sent for outcome in alone.process([each], RECEIVED)]
    assert told(one_by_one) == told(outcomes)
    assert len(windows[1]) == len(windows[0]), "places in the window"


def test_what_is_usual_is_read_together() -> None:
    """Else the test above would compare one way with itself."""
    sent = [
        Packet(
            payload=json.dumps({**MESSAGE, "device_id": f"dev-{number}"}).encode(),
            topic=f"devices/dev-{number}/telemetry",
        )
        for number in range(TOGETHER)
    ]
    addresses = AddressBook(ROUTES)
    theirs = [addresses[each.topic] for each in sent]
    bounds = TimeBounds.of(ValidationSection())

    assert [True] * TOGETHER == are_plain(sent, theirs)
    read = read_usual(decode_all(sent), sent, theirs, RECEIVED.unix_us, bounds)

    assert read is not None
    assert TOGETHER == len(write_usual(read, RECEIVED))


@pytest.mark.parametrize("validation", [NO_RANGES, ValidationSection()])
def test_a_fault_of_ours_in_what_goes_together_is_told_of_each_and_loses_none(
    validation: ValidationSection,
) -> None:
    """A text that JSON cannot be made of stands for any fault."""

    class Text(str):
        __slots__ = ()

    flow = make_flow(validation)
    broken = Instant(RECEIVED.unix_us, RECEIVED.monotonic_s, Text(RECEIVED.rfc3339))
    sent = [Packet(payload=json.dumps({**MESSAGE, "n": n}).encode()) for n in range(TOGETHER)]

    outcomes = flow.process(sent, broken)

    letters = [each.dead_letter for each in outcomes if isinstance(each, Record)]
    assert ["internal_error"] * TOGETHER == [each.reason for each in letters if each is not None]
