"""A fleet of every kind of device, and the sums of what must come of what it sends.

Theory of operation. Each device has one part to play, named by its id (`hot-12`), so that the key
of whatever lies in Kafka says of which kind it is. `Fleet` makes the messages one by one and, as it
makes them, counts what must come of each: telemetry, its warnings, dead letters by reason, opaque
records, duplicates. Timestamps are those of the schedule, not of the moment: a load that falls
behind and catches up is a backlog, and nobody is limited for it.

Only of `noisy` devices the split is not known beforehand, since it depends on when their messages
arrive; `capped` ones have a token for ten thousand seconds, so of theirs it is exact.
`malformed_packet` is not here: a real MQTT broker passes on no packet that the codec refuses.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import cbor2
import msgspec

from tests.support.devices import DeviceMessage

PAYLOAD_BYTES_MAX: Final = 4_096
PACKET_BYTES_MAX: Final = 65_536
KAFKA_BYTES_MAX: Final = 1_024
"""Of the Kafka topic of blobs, which are all larger."""
NOISE: Final = 50
"""Messages of a noisy device in its turn, all of one instant."""
CAP: Final = 5
"""Messages that a capped device may send, ever."""
WARDS: Final = 4
"""Devices that speak through each gateway."""
BATCHES: Final = 5
"""Of so many batches of a gateway the last one is wrong as a whole."""
FIXED: Final = {"mute": 5, "kept": 20}
"""Devices of these parts, whatever the size of the fleet."""
SHARES: Final = {
    "well": 0.4,
    "boiler": 0.04,
    "msgpack": 0.06,
    "cbor": 0.06,
    "unknown": 0.04,
    "disabled": 0.04,
    "misplaced": 0.04,
    "astray": 0.04,
    "recalled": 0.04,
    "hot": 0.04,
    "stranger": 0.02,
    "naive": 0.02,
    "twofold": 0.02,
    "stutter": 0.04,
    "clumsy": 0.06,
    "bad id": 0.02,
    "capped": 0.01,
    "noisy": 0.003,
    "gateway": 0.02,
    "herd": 0.02,
    "alarm": 0.03,
    "blob": 0.005,
}
FLAGGED: Final[Mapping[str, tuple[str, ...]]] = {
    "unknown": ("device_unknown",),
    "disabled": ("device_disabled",),
    "misplaced": ("location_unexpected",),
    "astray": ("location_unexpected",),
    "recalled": ("firmware_recalled",),
    "hot": ("out_of_range",),
    "stranger": ("out_of_range", "device_unknown"),
}
"""Parts that are telemetry all the same, each with the reasons of its copies."""
TEMPERATURES: Final = {"boiler": 200.0, "hot": 200.0, "stranger": -99.0}
HERE: Final = {"latitude": 59.91, "longitude": 10.75}
FIRMWARES: Final = ("1.4.2", "2.0.3")
VALIDATION: Final[Mapping[str, Any]] = {
    "firmware_recalled": ["1.4.2", ">=2.0.0,<2.0.7"],
    "types": {"boiler": {"ranges": {"temperature": [0.0, 400.0]}}},
}


class Sums(msgspec.Struct, kw_only=True):
    """What was sent, by kind; or what arrived: equal where nothing went astray."""

    telemetry: Counter[str] = msgspec.field(default_factory=Counter)
    """By part."""
    warnings: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """By part and reason, on telemetry."""
    letters: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """By part and reason; copies are not in it."""
    flagged: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """By device and reason: as many as were copied, and as copies say that were left out."""
    opaque: Counter[str] = msgspec.field(default_factory=Counter)
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    """QoS 1 messages by the terms of the conservation equation."""
    readings: Counter[str] = msgspec.field(default_factory=Counter)
    """Readings of batches, the same."""

    @property
    def by_reason(self) -> Counter[str]:
        """Sum the letters by reason."""
        sums: Counter[str] = Counter()
        for (_, reason), count in self.letters.items():
            sums[reason] += count
        return sums

    def letter(self, part: str, reason: str) -> None:
        """Count one message that ends as a dead letter."""
        self.letters[part, reason] += 1
        self.outcomes["dead_lettered"] += 1


def part_of(device_id: str) -> str:
    """Name the part that a device plays."""
    return device_id.rpartition("-")[0]


def written(at: datetime) -> str:
    """Write an instant as devices do."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


class Fleet:
    """The devices of one run; `speak` goes on where it was."""

    def __init__(self, devices: int, *, rate_per_s: float, began_at: datetime) -> None:
        self.sent = Sums()
        self.noise = 0
        """Messages of noisy devices: each is telemetry, or `rate_limited`."""
        self.messages = 0
        self.serial = 0
        """Of the last message or reading; every one has its own."""
        self.per_part = {
            **{part: max(2, round(devices * share)) for part, share in SHARES.items()},
            **FIXED,
        }
        self._turns: Counter[str] = Counter()
        self._emptied: set[str] = set()
        self._rate_per_s = rate_per_s
        self._began_at = began_at
        parts = [part for part in self.per_part if part not in FIXED]
        self._ids = [
            f"{part}-{number}"
            for number in range(max(self.per_part.values()))
            for part in parts
            if number < self.per_part[part]
        ]
        self._ways: Mapping[str, Callable[[str], Iterator[DeviceMessage]]] = {
            **dict.fromkeys(("msgpack", "cbor"), self._encoded),
            "stutter": self._stutter,
            "twofold": self._twofold,
            "clumsy": self._clumsy,
            "bad id": self._bad_id,
            "capped": self._capped,
            "noisy": self._noisy,
            "gateway": self._gateway,
            "herd": self._herd,
            "alarm": self._alarm,
            "blob": self._blob,
        }

    def registry(self) -> dict[str, Any]:
        """Give the entry of every device that is registered, as the file has them."""
        entries: dict[str, Any] = {
            each: self._entry(part_of(each)) for each in [*self._ids, *self.ids_of("kept")]
        }
        for each in self.ids_of("mute"):
            entries[each] = {"expected_interval_s": self.mute_interval_s}
        for gateway in self.ids_of("gateway"):
            entries |= {each: {"gateway": gateway} for each in self._wards(gateway)}
        absent = {"unknown", "stranger", "bad id"}
        return {name: entry for name, entry in entries.items() if part_of(name) not in absent}

    def _entry(self, part: str) -> dict[str, Any]:
        match part:
            case "boiler":
                return {"type": "boiler", "location": "hall-1"}
            case "disabled":
                return {"enabled": False}
            case "astray" | "msgpack" | "cbor":
                return {"location": {**HERE, "radius_m": 500.0}}
            case "capped":
                return {"limits": {"per_device_per_s": 0.0001, "burst": CAP}}
            case _:
                return {"type": "meter", "location": "hall-1"}

    def ids_of(self, part: str) -> list[str]:
        """List the devices of a part."""
        return [f"{part}-{number}" for number in range(self.per_part[part])]

    @property
    def mute_interval_s(self) -> float:
        """Twice what it takes all devices to speak once, about, and two seconds at least."""
        turns = len(self._ids) + NOISE * self.per_part["noisy"] + len(self.ids_of("mute"))
        return max(2.0, 2 * turns / self._rate_per_s)

    # ------------------------------------------------------------------ who speaks when

    def retained(self) -> Iterator[DeviceMessage]:
        """Give what is at the MQTT broker before the bridge comes."""
        for device_id in self.ids_of("kept"):
            message = self._good(device_id)
            yield msgspec.structs.replace(message, retain=True)

    def speak(self, seconds: float) -> Iterator[DeviceMessage]:
        """Let each device speak in its turn; those that fall silent do so after a third of it."""
        wanted = self.messages + seconds * self._rate_per_s
        silent_from = self.messages + seconds * self._rate_per_s / 3
        while self.messages < wanted:
            mute = self.ids_of("mute") if self.messages < silent_from else []
            for device_id in [*mute, *self._ids]:
                yield from self._turn(device_id)

    def speak_flagged(self) -> Iterator[DeviceMessage]:
        """Let each device that is flagged speak once more."""
        for device_id in self._ids:
            part = part_of(device_id)
            if part == "gateway" and self._turns[device_id] % BATCHES == BATCHES - 1:
                yield from self._turn(device_id)  # One without a batch_id: nothing is flagged.
            if part in {*FLAGGED, "gateway"}:
                yield from self._turn(device_id)

    def _turn(self, device_id: str) -> Iterator[DeviceMessage]:
        part = part_of(device_id)
        for message in self._ways.get(part, self._one)(device_id):
            self.messages += 1
            yield message
        self._turns[device_id] += 1

    def _one(self, device_id: str) -> Iterator[DeviceMessage]:
        yield self._good(device_id)

    # ------------------------------------------------------------------ telemetry

    def _at(self) -> datetime:
        """Give the time of the schedule; not two messages have the same."""
        self.serial += 1
        ahead = timedelta(seconds=self.messages / self._rate_per_s, microseconds=self.serial % 100)
        return (self._began_at + ahead).astimezone(UTC)

    def _body(self, device_id: str, at: datetime) -> dict[str, Any]:
        part = part_of(device_id)
        place: dict[str, Any] = {"location": "hall-2" if part == "misplaced" else "hall-1"}
        if part in {"astray", "msgpack", "cbor"}:
            place = HERE if part != "astray" else {**HERE, "latitude": 58.91}
        firmware = FIRMWARES[self.serial % 2] if part == "recalled" else "2.1.0"
        return {
            "device_id": device_id,
            "timestamp": written(at) if part != "naive" else written(at).removesuffix("Z"),
            "metrics": {"serial": self.serial, "temperature": TEMPERATURES.get(part, 21.5)},
            "metadata": {**place, "firmware_version": firmware},
        }

    def _good(self, device_id: str) -> DeviceMessage:
        """Make a message that is telemetry, flagged or not, and count it."""
        part, sent = part_of(device_id), self.sent
        sent.telemetry[part] += 1
        sent.outcomes["produced"] += 1
        for reason in FLAGGED.get(part, ()):
            sent.warnings[part, reason] += 1
            sent.flagged[device_id, reason] += 1
        if part == "naive":
            sent.warnings[part, "timestamp_without_zone"] += 1
        return _message(device_id, self._body(device_id, self._at()))

    def _encoded(self, device_id: str) -> Iterator[DeviceMessage]:
        body = json.loads(self._good(device_id).payload)
        encode, content_type = _ENCODINGS[part_of(device_id)]
        topic = f"devices/{device_id}/telemetry"
        yield DeviceMessage(topic=topic, payload=encode(body), content_type=content_type)

    def _stutter(self, device_id: str) -> Iterator[DeviceMessage]:
        message = self._good(device_id)
        self.sent.outcomes["duplicate"] += 1
        yield message
        yield message

    def _twofold(self, device_id: str) -> Iterator[DeviceMessage]:
        """Two readings of one instant: both are telemetry, the second is marked."""
        first = self._good(device_id)
        second = json.loads(first.payload)
        self.serial += 1
        second["metrics"]["serial"] = self.serial
        self.sent.telemetry["twofold"] += 1
        self.sent.outcomes["produced"] += 1
        self.sent.warnings["twofold", "idempotency_id_repeated"] += 1
        yield first
        yield _message(device_id, second)

    def _capped(self, device_id: str) -> Iterator[DeviceMessage]:
        if self._turns[device_id] < CAP:
            yield self._good(device_id)
            return
        self.sent.letter("capped", "rate_limited")
        yield _message(device_id, self._body(device_id, self._at()))

    def _noisy(self, device_id: str) -> Iterator[DeviceMessage]:
        at = self._at()
        self.noise += NOISE
        for number in range(NOISE):
            self.serial += 1
            yield _message(device_id, self._body(device_id, at + timedelta(microseconds=number)))

    # ------------------------------------------------------------------ what is rejected

    def _clumsy(self, device_id: str) -> Iterator[DeviceMessage]:
        """Send what is wrong in each way in turn, and some of it twice."""
        turn = self._turns[device_id]
        body = self._body(device_id, self._at())
        reason, payload, content_type = _WRONGS[turn % len(_WRONGS)](body)
        topic = f"devices/{device_id}/telemetry"
        message = DeviceMessage(topic=topic, payload=payload, content_type=content_type)
        is_known = not payload and device_id in self._emptied
        if not payload:  # Nothing tells one from the next, so that all but the first are known.
            self._emptied.add(device_id)
        if is_known:
            self.sent.outcomes["duplicate"] += 1
        else:
            self.sent.letter("clumsy", reason)
        yield message
        if turn % 5 == 0:
            self.sent.outcomes["duplicate"] += 1
            yield message

    def _bad_id(self, device_id: str) -> Iterator[DeviceMessage]:
        self.sent.letter("bad id", "device_id_invalid")
        yield _message(device_id, self._body(device_id, self._at()))

    # ------------------------------------------------------------------ batches and bytes

    def _wards(self, gateway: str) -> list[str]:
        return [f"ward-{gateway.rpartition('-')[2]}{number}" for number in range(WARDS)]

    def _gateway(self, device_id: str) -> Iterator[DeviceMessage]:
        """Speak for those that are assigned, and for one that is not; some batches come twice."""
        turn, sent = self._turns[device_id], self.sent
        wards = self._wards(device_id)
        readings = [self._reading(each) for each in wards]
        readings[0]["metrics"]["temperature"] = 200.0
        del readings[1]["metrics"]
        readings.append(self._reading("well-0"))
        body: dict[str, Any] = {"batch_id": self.serial, "readings": readings}
        topic = f"gateways/{device_id}/telemetry/batch"
        if turn % BATCHES == BATCHES - 1:
            del body["batch_id"]
            sent.letter("gateway", "schema_mismatch")
            yield DeviceMessage(topic=topic, payload=json.dumps(body).encode())
            return
        sent.telemetry["ward"] += WARDS - 1
        sent.warnings["ward", "out_of_range"] += 1
        sent.flagged[wards[0], "out_of_range"] += 1
        sent.letters["ward", "schema_mismatch"] += 1
        sent.letters["gateway", "device_mismatch"] += 1
        sent.outcomes["produced"] += 1
        sent.readings.update({"produced": WARDS - 1, "dead_lettered": 2})
        message = DeviceMessage(topic=topic, payload=json.dumps(body).encode())
        yield message
        if turn % 3 == 0:
            sent.outcomes["duplicate"] += 1
            sent.readings["duplicate"] += WARDS + 1
            yield message

    def _herd(self, device_id: str) -> Iterator[DeviceMessage]:
        """Send readings of its own, each time in another format."""
        readings = [self._reading(device_id) for _ in range(4)]
        for each in readings:
            del each["device_id"]
        body = {"device_id": device_id, "batch_id": f"b{self.serial}", "readings": readings}
        self.sent.telemetry["herd"] += 4
        self.sent.outcomes["produced"] += 1
        self.sent.readings["produced"] += 4
        encode, content_type = list(_ENCODINGS.values())[self._turns[device_id] % 3]
        topic = f"devices/{device_id}/telemetry/batch"
        yield DeviceMessage(topic=topic, payload=encode(body), content_type=content_type)

    def _reading(self, device_id: str) -> dict[str, Any]:
        return self._body(device_id, self._at())

    def _alarm(self, device_id: str) -> Iterator[DeviceMessage]:
        """Send bytes twice: with a key they are known again, without one they are not."""
        self.serial += 1
        has_key = self._turns[device_id] % 2 == 0
        message = DeviceMessage(
            topic=f"alarms/{device_id}/raw",
            payload=b"\xff\x00%d" % self.serial,
            user_properties=(("idempotency-key", f"a{self.serial}"),) if has_key else (),
        )
        self.sent.opaque["alarm"] += 1 if has_key else 2
        self.sent.outcomes["produced"] += 1 if has_key else 2
        self.sent.outcomes["duplicate"] += has_key
        yield message
        yield message

    def _blob(self, device_id: str) -> Iterator[DeviceMessage]:
        """Send bytes that Kafka never takes, though its route does."""
        self.serial += 1
        self.sent.letter("blob", "kafka_refused")
        blob = b"%d " % self.serial + bytes(2 * KAFKA_BYTES_MAX)
        yield DeviceMessage(topic=f"blobs/{device_id}/raw", payload=blob)


def _message(device_id: str, body: Mapping[str, Any]) -> DeviceMessage:
    payload = json.dumps(body).encode()
    return DeviceMessage(topic=f"devices/{device_id}/telemetry", payload=payload)


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


_ENCODINGS: Final[Mapping[str, tuple[Callable[[object], bytes], str]]] = {
    "json": (_json, "text/json"),
    "msgpack": (msgspec.msgpack.encode, "application/msgpack"),
    "cbor": (cbor2.dumps, "Application/CBOR; v=1"),
}
Wrong = tuple[str, bytes, str | None]
"""The reason that must be found, the payload, the Content Type."""


def _spoilt(reason: str, **changed: object) -> Callable[[dict[str, Any]], Wrong]:
    return lambda body: (reason, _json({**body, **changed}), None)


def _moved(reason: str, **by: float) -> Callable[[dict[str, Any]], Wrong]:
    def move(body: dict[str, Any]) -> Wrong:
        at = datetime.fromisoformat(body["timestamp"]) + timedelta(**by)
        return reason, _json({**body, "timestamp": written(at)}), None

    return move


_DEEP: Final[Any] = msgspec.json.decode(b"[" * 41 + b"]" * 41)
_WRONGS: Final[tuple[Callable[[dict[str, Any]], Wrong], ...]] = (
    lambda _: ("empty", b"", None),
    lambda body: ("not_decodable", _json(body)[:-2], None),
    lambda body: ("not_decodable", _json({**body, "note": "?!"}).replace(b"?!", b"\xff\xfe"), None),
    lambda body: ("not_decodable", msgspec.msgpack.encode(body)[:-2], "application/x-msgpack"),
    lambda body: ("not_decodable", cbor2.dumps(body) + b"\0", "application/cbor"),
    _spoilt("not_decodable", nest=_DEEP),
    _spoilt("too_large", note="x" * PAYLOAD_BYTES_MAX),
    _spoilt("too_large", note="x" * PACKET_BYTES_MAX),
    lambda body: ("unsupported_format", _json(body), "image/png"),
    _spoilt("schema_mismatch", metrics=[21.5]),
    _spoilt("schema_mismatch", timestamp=True),
    _spoilt("device_mismatch", device_id="somebody-else"),
    _moved("timestamp_future", hours=2),
    _moved("timestamp_old", days=-30),
)
