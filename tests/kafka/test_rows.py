"""A record survives the way into a spool row and back."""

from zlib import crc32

import msgspec
import pytest
from hypothesis import given, strategies as st

from bridge.kafka.record import DeadLetter, Instant, Kept, Reading, Record
from bridge.kafka.rows import VERSION, RowError, from_row, to_row

RECEIVED = Instant(1_760_000_000_123_456, 99.0, "2025-10-09T08:53:20.123456Z")

texts = st.text(max_size=20)
payloads = st.binary(max_size=50)
ids = texts | st.integers(-(2**63), 2**63 - 1)
numbers = st.integers(0, 999)
letters = st.builds(DeadLetter, texts, texts, texts, texts, texts, texts)


@st.composite
def records(draw: st.DrawFn) -> Record:
    value = draw(payloads)
    payload = draw(st.one_of(st.just(value), payloads))
    return Record(
        draw(texts),
        draw(payloads),
        value,
        draw(st.lists(st.tuples(texts, payloads), max_size=4)),
        RECEIVED,
        draw(
            st.one_of(
                st.builds(Kept, texts, st.just(payload), st.none() | texts),
                st.builds(
                    Reading,
                    texts,
                    st.just(payload),
                    st.none() | texts,
                    ids,
                    numbers,
                    head=payloads,
                ),
            )
        ),
        draw(st.none() | letters),
        draw(st.booleans()),
        draw(payloads),
    )


def plain(record: Record) -> object:
    return msgspec.to_builtins(record)


@given(records())
def test_a_record_comes_back_as_it_was_but_for_the_monotonic_clock(record: Record) -> None:
    back = from_row(to_row(record), dedup_key=record.dedup_key, monotonic_s=7.0)

    received = msgspec.structs.replace(RECEIVED, monotonic_s=7.0)
    assert plain(msgspec.structs.replace(record, received=received)) == plain(back)


def test_the_payload_is_not_stored_twice_where_it_is_the_value() -> None:
    value = b"x" * 1_000
    record = Record("t", b"k", value, [], RECEIVED, Kept("m", value, None))

    assert len(to_row(record)) < 1_100
    assert value == from_row(to_row(record), dedup_key=b"", monotonic_s=0.0).origin.payload


def row_of(body: bytes) -> bytes:
    return bytes((VERSION,)) + crc32(body).to_bytes(4, "big") + body


def version_1_row(*, text: bytes = b"m", received_us: int = 1) -> bytes:
    fields = ["t", b"k", b"v", [], received_us, "m", None, None, None, False]
    packed = [msgspec.msgpack.encode(each) for each in fields]
    packed[5] = b"\xa1" + text
    return b"\x01\x9a" + b"".join(packed)


def test_a_row_of_version_1_that_is_sound_is_read() -> None:
    record = from_row(version_1_row(), dedup_key=b"", monotonic_s=0.0)

    assert ("m", 1) == (record.origin.topic, record.received.unix_us)


@given(records(), st.data())
def test_a_bit_that_the_disk_turned_is_no_record(record: Record, data: st.DataObject) -> None:
    row = bytearray(to_row(record))
    bit = data.draw(st.integers(0, 8 * len(row) - 1))
    row[bit // 8] ^= 1 << bit % 8

    with pytest.raises(RowError):
        from_row(bytes(row), dedup_key=record.dedup_key, monotonic_s=0.0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"", "row has version none, known are 1 and 2"),
        (bytes((VERSION + 1,)) + b"\x90", "row has version 3, known are 1 and 2"),
        (bytes((VERSION,)) + b"\0\0", "row is damaged: its checksum is of something else"),
        (row_of(b"\x91"), "row cannot be read: "),
        (row_of(b"\x90"), "row cannot be read: "),
        (b"\x01\x91", "row cannot be read: "),
        (version_1_row(text=b"\xff"), "row cannot be read: "),
        (version_1_row(received_us=300_000_000_000 * 1_000_000), "row cannot be read: year"),
        (version_1_row(received_us=-(1 << 63)), "row cannot be read: year"),
        (version_1_row(received_us=(1 << 64) - 1), "row cannot be read: year"),
    ],
    ids=[
        "empty",
        "newer",
        "no checksum",
        "cut short",
        "too few fields",
        "cut short, version 1",
        "no text, version 1",
        "year 11476, version 1",
        "before year 1, version 1",
        "as late as can be, version 1",
    ],
)
def test_a_row_that_cannot_be_read_says_why(row: bytes, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        from_row(row, dedup_key=b"", monotonic_s=0.0)


def test_a_row_written_by_version_1_is_read_for_ever() -> None:
    row = bytes.fromhex(
        "019aa174c4016bc40276319192a168c40178cf000640b5eecfe240a56465762f61c4027031c0c0c2"
    )
    record = from_row(row, dedup_key=b"", monotonic_s=0.0)

    assert ("t", b"k", b"v1", [("h", b"x")]) == (
        record.kafka_topic,
        record.key,
        record.value,
        record.headers,
    )
    assert ("dev/a", b"p1", None) == (
        record.origin.topic,
        record.origin.payload,
        record.origin.content_type,
    )
