"""The ways in which a device can get a message wrong, and what each must be called."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import msgspec

from bridge.pipeline.verdict import Reason

Reading: TypeAlias = dict[str, Any]
TOO_DEEP = 40
"""The bridge reads 32 levels."""


class Malformation(msgspec.Struct, frozen=True):
    """How a good reading is spoiled, and the reason that the bridge must find."""

    expected: Reason
    spoil: Callable[[Reading, datetime], bytes]


def _encode(reading: Reading) -> bytes:
    return json.dumps(reading, separators=(",", ":")).encode()


def _stamp(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _not_json(reading: Reading, _: datetime) -> bytes:
    # A terminal that printed this as it is would be cleared and turn red.
    sequence = reading["metadata"]["sequence"]
    return f"\x1b[2J\x1b[31mtemperature=21.5;sequence={sequence}\r\n".encode()


def _truncated(reading: Reading, _: datetime) -> bytes:
    return _encode(reading)[:-9]


def _trailing_bytes(reading: Reading, _: datetime) -> bytes:
    return _encode(reading) + b"\x00\x00\x00\x00"


def _bad_utf8(reading: Reading, _: datetime) -> bytes:
    return _encode(reading | {"note": "?!"}).replace(b"?!", b"\xff\xfe")


def _not_a_number(reading: Reading, _: datetime) -> bytes:
    return _encode(reading | {"metrics": reading["metrics"] | {"temperature": float("nan")}})


def _too_deep(reading: Reading, _: datetime) -> bytes:
    nest: Any = 0
    for _level in range(TOO_DEEP):
        nest = [nest]
    return _encode(reading | {"nest": nest})


def _timestamp_missing(reading: Reading, _: datetime) -> bytes:
    return _encode({name: value for name, value in reading.items() if name != "timestamp"})


def _metrics_as_list(reading: Reading, _: datetime) -> bytes:
    return _encode(reading | {"metrics": list(reading["metrics"].values())})


def _metric_nested(reading: Reading, _: datetime) -> bytes:
    return _encode(reading | {"metrics": {"temperature": {"value": 21.5, "unit": "C"}}})


def _wrong_device(reading: Reading, _: datetime) -> bytes:
    return _encode(reading | {"device_id": "somebody-else"})


def _timestamp_future(reading: Reading, now: datetime) -> bytes:
    return _encode(reading | {"timestamp": _stamp(now + timedelta(hours=2))})


def _timestamp_old(reading: Reading, now: datetime) -> bytes:
    return _encode(reading | {"timestamp": _stamp(now - timedelta(days=30))})


WAYS: dict[str, Malformation] = {
    "not_json": Malformation(Reason.NOT_DECODABLE, _not_json),
    "empty": Malformation(Reason.EMPTY, lambda _reading, _now: b""),
    "truncated": Malformation(Reason.NOT_DECODABLE, _truncated),
    "trailing_bytes": Malformation(Reason.NOT_DECODABLE, _trailing_bytes),
    "bad_utf8": Malformation(Reason.NOT_DECODABLE, _bad_utf8),
    "not_a_number": Malformation(Reason.NOT_DECODABLE, _not_a_number),
    "too_deep": Malformation(Reason.NOT_DECODABLE, _too_deep),
    "timestamp_missing": Malformation(Reason.SCHEMA_MISMATCH, _timestamp_missing),
    "metrics_as_list": Malformation(Reason.SCHEMA_MISMATCH, _metrics_as_list),
    "metric_nested": Malformation(Reason.SCHEMA_MISMATCH, _metric_nested),
    "wrong_device": Malformation(Reason.DEVICE_MISMATCH, _wrong_device),
    "timestamp_future": Malformation(Reason.TIMESTAMP_FUTURE, _timestamp_future),
    "timestamp_old": Malformation(Reason.TIMESTAMP_OLD, _timestamp_old),
}
