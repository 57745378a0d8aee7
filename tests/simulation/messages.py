"""What devices say here, and how it is recognised wherever it comes out."""

import enum
import random
import re

import msgspec

TELEMETRY = "telemetry"
METERS = "meters"
LETTERS = "letters"
FILTERS = {"devices/+/telemetry": TELEMETRY, "meters/+/telemetry": METERS}
_NUMBER = re.compile(rb"#(\d+)#")

TOPIC_BYTES_MAX = 1_500
"""What a Kafka topic takes, where it is set to so little."""
PACKET_BYTES_MAX = 4_096
FLAGGED_EACH = 10


class Kind(enum.Enum):
    """What becomes of a content."""

    GOOD = "good"
    MALFORMED = "malformed"
    KAFKA_REFUSES = "kafka refuses"
    """Larger than its Kafka topic takes."""
    PACKET_TOO_LARGE = "packet too large"


class Content(msgspec.Struct, frozen=True, eq=False):
    """One payload of one device; it may be published more than once."""

    number: int
    kind: Kind
    mqtt_topic: str
    key: bytes
    payload: bytes
    kafka_topic: str
    """Where its one record must come out."""


class Message(msgspec.Struct, eq=False):
    """One PUBLISH that a publisher got its PUBACK for."""

    number: int
    content: Content
    is_lost: bool = False
    """The MQTT broker itself forgot it before the bridge had acknowledged it."""
    is_acknowledged: bool = False


def number_in(data: bytes) -> int:
    """Find the number of the content in a payload, a value or a row."""
    found = _NUMBER.search(data)
    assert found is not None, f"a record that was never published: {data[:200]!r}"
    return int(found[1])


def is_copy(row: bytes) -> bool:
    """Tell whether a row of the spool is a copy of a flagged message: nothing is promised of it."""
    return b"\xa8dlq.copy\xc4\x04true" in row


def make_content(number: int, device: int, chance: random.Random) -> Content:
    """Draw a content: mostly good telemetry."""
    route, kafka_topic = (("devices", TELEMETRY), ("meters", METERS))[device % 2]
    name = f"d{device}"
    kind = chance.choices(list(Kind), (80, 10, 6, 4))[0]
    match kind:
        case Kind.MALFORMED:
            payload = b"#%d# is no telemetry {" % number
        case Kind.PACKET_TOO_LARGE:
            payload = b"#%d#" % number + b"x" * PACKET_BYTES_MAX
        case _:
            note = "x" * TOPIC_BYTES_MAX if kind is Kind.KAFKA_REFUSES else ""
            # Now and then two contents under one id.
            at_ms = 1_795_455_000_000 + (number if chance.random() < 0.9 else number // 2)
            # Some are flagged as well, and copied.
            flagged = "" if number % FLAGGED_EACH else ',"temperature":9999'
            payload = (
                f'{{"device_id":"{name}","timestamp":{at_ms},'
                f'"metrics":{{"n":"#{number}#","x":"{note}"{flagged}}}}}'
            ).encode()
    return Content(
        number,
        kind,
        f"{route}/{name}/telemetry",
        name.encode(),
        payload,
        kafka_topic if kind is Kind.GOOD else LETTERS,
    )
