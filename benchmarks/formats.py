"""What decoding costs in each format: the guide's message, and the worst payloads of 256 KB.

The binary layout has the same seven values, but as numbers, and no device id.
`python -m benchmarks.formats` prints microseconds for the one and milliseconds for the others,
each CPU time and the best of several rounds, since a shared machine only ever adds to them. Of the
one also the ratio to JSON, which says more: the median of the ratios within a round, in which the
formats take turns, with the least and the most.
"""

import struct
import timeit
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from time import process_time
from typing import Any, Final

import cbor2
import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from bridge.config.sections import BinaryField, BinaryLayout, ProtobufFields, Route
from bridge.pipeline.decode import Decoding, FormatChoice
from bridge.pipeline.formats.protobuf import ProtobufMapping
from bridge.pipeline.formats.published import TELEMETRY
from bridge.pipeline.identity import Address
from bridge.pipeline.verdict import Rejected

_ROUNDS: Final = 7
_DECODES: Final = 20_000
_BYTES: Final = 262_144 - 5
"""The usual bound of a route, less the head of an array, whatever the format."""
_OWN: Final = "protobuf, mapped"
_MESSAGE: Final[dict[str, Any]] = {
    "device_id": "dev-0001",
    "timestamp": "2026-11-23T17:35:24.123Z",
    "metrics": {"temperature": 21.5, "humidity": 45.2, "pressure": 1013.25, "battery_level": 87},
    "metadata": {"firmware": "1.2.3", "signal_strength": -67, "location": "x"},
}
_LAYOUT: Final = BinaryLayout(
    byte_order="little",
    fields=(
        BinaryField(name="timestamp", type="u64", to="timestamp", unit="ms"),
        BinaryField(name="temperature", type="i16", scale=0.1),
        BinaryField(name="humidity", type="u16", scale=0.1),
        BinaryField(name="pressure", type="u32", scale=0.01),
        BinaryField(name="battery_level", type="u8"),
        BinaryField(name="firmware", type="u24", to="metadata"),
        BinaryField(name="signal_strength", type="i8", to="metadata"),
    ),
)
_Field: Final = descriptor_pb2.FieldDescriptorProto
_KINDS: Final = {
    float: _Field.TYPE_DOUBLE,
    int: _Field.TYPE_SINT64,
    str: _Field.TYPE_STRING,
}
_FIELDS: Final = ProtobufFields(
    timestamp="timestamp",
    device_id="device_id",
    metrics={name: name for name in _MESSAGE["metrics"]},
    metadata={name: name for name in _MESSAGE["metadata"]},
)


def main() -> None:
    """Print both tables."""
    payloads = _payloads()
    rounds = _in_turn(payloads)
    print(f"{'format':<18}{'bytes':>6}{'us':>8}{'to json':>10}   the guide's message")
    for name, payload in payloads.items():
        ratios = [took[name] / took["json"] for took in rounds]
        best_us = min(took[name] for took in rounds) / _DECODES * 1e6
        spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{name:<18}{len(payload):>6}{best_us:>8.2f}{median(ratios):>10.2f} {spread}")
    print(f"\n{'format':<18}{'ms':>8}   the worst that 256 KB can be")
    for name, shape, payload in _worst():
        decode = _decoder(name)
        took = timeit.repeat(
            lambda d=decode, p=payload: d(p),  # type: ignore[misc]
            timer=process_time,
            number=1,
            repeat=_ROUNDS,
        )
        decoded = decode(payload)
        outcome = "refused" if isinstance(decoded, Rejected) else "decoded"
        assert not isinstance(decoded, Rejected) or decoded.reason == "not_decodable", shape
        print(f"{name:<18}{min(took) * 1e3:>8.1f}   {shape}, {outcome}")


def _in_turn(payloads: Mapping[str, bytes]) -> list[dict[str, float]]:
    """Give the seconds of each format, round after round, so that all see the same machine."""
    decoders = {name: _decoder(name) for name in payloads}
    for name, payload in payloads.items():
        assert not isinstance(decoders[name](payload), Rejected), name
    return [
        {
            name: timeit.timeit(
                lambda d=decoders[name], p=payload: d(p),  # type: ignore[misc]
                timer=process_time,
                number=_DECODES,
            )
            for name, payload in payloads.items()
        }
        for _ in range(_ROUNDS)
    ]


def _decoder(name: str) -> Callable[[bytes], Any]:
    format_name: Any = "protobuf" if name == _OWN else name
    route = Route(format=format_name)
    described = descriptor_pb2.FileDescriptorSet(file=[_own_file()]).SerializeToString()
    own = ProtobufMapping(described, "Reading", _FIELDS) if name == _OWN else None
    decode = Decoding({route.filter: FormatChoice(layout=_LAYOUT, protobuf=own)}).decode
    address = Address(route=route, device_id="dev-0001", key=b"", is_valid=True)
    return lambda payload: decode(payload, None, address)


def _own_values() -> Mapping[str, Any]:
    """Give the guide's message as the flat message of some user."""
    named = {name: _MESSAGE[name] for name in ("device_id", "timestamp")}
    return {**named, **_MESSAGE["metrics"], **_MESSAGE["metadata"]}


def _own_file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="reading.proto", syntax="proto3")
    message = file.message_type.add(name="Reading")
    for number, (name, value) in enumerate(_own_values().items(), start=1):
        kind = _KINDS[type(value)]
        message.field.add(name=name, number=number, type=kind, label=_Field.LABEL_OPTIONAL)
    return file


def _own_payload() -> bytes:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_own_file())
    made: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("Reading"))
    encoded: bytes = made(**_own_values()).SerializeToString()
    return encoded


def _payloads() -> Mapping[str, bytes]:
    sent = TELEMETRY(device_id="dev-0001", timestamp=_MESSAGE["timestamp"])
    for part in ("metrics", "metadata"):
        for name, value in _MESSAGE[part].items():
            kind = {float: "number", int: "integer", str: "text"}[type(value)]
            setattr(getattr(sent, part)[name], kind, value)
    return {
        "json": msgspec.json.encode(_MESSAGE),
        "msgpack": msgspec.msgpack.encode(_MESSAGE),
        "cbor": cbor2.dumps(_MESSAGE),
        "protobuf": sent.SerializeToString(),
        _OWN: _own_payload(),
        "binary": struct.pack(
            "<QhHIB3sb", 1_795_455_324_123, 215, 452, 101_325, 87, b"\1\2\3", -67
        ),
    }


def _worst() -> Iterator[tuple[str, str, bytes]]:
    """Yield payloads of many small parts, each shaped against one step of its decoder."""
    count = _BYTES // 64
    yield "json", "empty lists", b"[" + b"[]," * (_BYTES // 3 - 1) + b"[]]"
    yield "json", "lists 31 deep", b"[" + b",".join([b"[" * 31 + b"]" * 31] * count) + b"]"
    yield "json", "100,000 levels", b"[" * 100_000
    arrays: list[tuple[str, bytes, bytes, Callable[[int], bytes]]] = [
        ("msgpack", b"\x91", b"\x90", lambda size: b"\xdd" + size.to_bytes(4)),
        ("cbor", b"\x81", b"\x80", lambda size: b"\x9a" + size.to_bytes(4)),
    ]
    for name, one, none, many in arrays:
        yield name, "empty lists", many(_BYTES) + none * _BYTES
        yield name, "empty lists, 8 deep", one * 7 + many(_BYTES - 7) + none * (_BYTES - 7)
        chain = one * 29 + b"\1"
        yield name, "lists 30 deep", many(_BYTES // 30) + chain * (_BYTES // 30)
        yield name, "100,000 levels", one * 100_000
    times = _BYTES // 17
    one_time = b"\x81\xa9timestamp\xd6\xff\0\0\0\1"
    yield "msgpack", "timestamp extensions", b"\xdd" + times.to_bytes(4) + one_time * times
    yield "cbor", "tagged times", b"\x9a" + (_BYTES // 2).to_bytes(4) + b"\xc1\1" * (_BYTES // 2)
    yield "cbor", "large integers", b"\x9a" + (_BYTES // 2).to_bytes(4) + b"\xc2@" * (_BYTES // 2)
    entry = b"\x22\x06\x0a\x04"
    entries = (entry + f"{number:04x}".encode() for number in range(_BYTES // 8))
    yield "protobuf", "metrics of null", b"".join(entries)
    yield "protobuf", "unknown fields", b"\x48\1" * (_BYTES // 2)


if __name__ == "__main__":
    main()
