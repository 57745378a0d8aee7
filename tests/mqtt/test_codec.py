"""Bytes to packets, however they are cut, and the guard around the codec."""

import contextlib
import hashlib

import mqtt5
import pytest
from hypothesis import given, settings, strategies as st

from bridge.errors import PeerError
from bridge.mqtt.codec import (
    POISON_HEAD_BYTES,
    Decoder,
    Mqtt3ConnAck,
    encode_pubacks,
)
from bridge.mqtt.packets import PoisonPublish

# The codec's panic on ill-formed UTF-8 leaves an exception behind that Python calls unraisable.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def publish(
    payload: bytes = b"{}",
    *,
    topic: str = "devices/a/telemetry",
    packet_id: int | None = 1,
    qos: int = 1,
    topic_alias: int | None = None,
    properties: list[tuple[str, str]] | None = None,
) -> bytes:
    return mqtt5.PublishPacket(
        topic,
        payload,
        qos=mqtt5.QoS(qos),
        packet_id=packet_id,
        topic_alias=topic_alias,
        user_properties=properties,
    ).write()


def remaining_length(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, digit = divmod(value, 128)
        encoded.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(encoded)


def raw_publish(body: bytes, *, first: int = 0x32) -> bytes:
    return bytes([first]) + remaining_length(len(body)) + body


ILL_FORMED_TOPIC = raw_publish(b"\x00\x04a/\xff\xfe" + b"\x00\x09" + b"\x00" + b"payload")
UNKNOWN_PROPERTY = raw_publish(b"\x00\x01a" + b"\x00\x09" + b"\x02\x99\x01" + b"payload")
ILL_FORMED_PROPERTY = raw_publish(
    b"\x00\x01a" + b"\x00\x09" + b"\x08\x26\x00\x02\xff\xfe\x00\x01v" + b"payload"
)
PROPERTIES_BEYOND = raw_publish(b"\x00\x01a" + b"\x00\x09" + b"\x7fpayload")
GOOD = publish(b'{"n":1}', packet_id=2)


def decode(*chunks: bytes, packet_bytes_max: int = 1 << 20) -> Decoder:
    decoder = Decoder(packet_bytes_max=packet_bytes_max)
    for chunk in chunks:
        decoder.feed(chunk)
    return decoder


def facts(decoder: Decoder) -> list[tuple[str, bytes, int | None]]:
    return [(each.topic, each.payload, each.packet_id) for each in decoder.publishes]


@given(
    st.lists(
        st.sampled_from(
            (
                publish(b"one", packet_id=1),
                publish(b"", packet_id=65_535),
                publish(b"best effort", packet_id=None, qos=0),
                publish(b"x" * 300, packet_id=3, properties=[("k", "v")] * 5),
                publish(b"y" * 3_000, packet_id=4),
                ILL_FORMED_TOPIC,
                UNKNOWN_PROPERTY,
                PROPERTIES_BEYOND,
                mqtt5.PingRespPacket().write(),
                mqtt5.PubAckPacket(2).write(),
            )
        ),
        max_size=12,
    ),
    st.data(),
)
@settings(deadline=None, max_examples=150)
def test_packets_are_the_same_however_the_bytes_are_cut(
    packets: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    whole = decode(stream, packet_bytes_max=1_000)
    cut = decode(*[chunk for chunk in chunks if chunk], packet_bytes_max=1_000)
    single = decode(*[stream[i : i + 1] for i in range(len(stream))], packet_bytes_max=1_000)

    assert facts(whole) == facts(cut) == facts(single)
    assert [type(each) for each in whole.controls] == [type(each) for each in cut.controls]
    assert len(packets) == len(whole.publishes) + len(whole.controls)


@pytest.mark.parametrize(
    ("packet", "topic"),
    [
        pytest.param(ILL_FORMED_TOPIC, r"a/\xff\xfe", id="ill-formed UTF-8 in the topic"),
        pytest.param(UNKNOWN_PROPERTY, "a", id="unknown property"),
        pytest.param(
            raw_publish(b"\x00\x00" + b"\x00\x09" + b"\x00" + b"payload"), "", id="empty topic"
        ),
        pytest.param(ILL_FORMED_PROPERTY, "a", id="ill-formed UTF-8 in a user property"),
    ],
)
def test_a_publish_that_the_codec_refuses_is_read_by_hand_and_the_next_one_arrives(
    packet: bytes, topic: str
) -> None:
    decoder = decode(packet + GOOD)

    poison, good = decoder.publishes

    assert isinstance(poison, PoisonPublish)
    assert (topic, b"payload", 9) == (poison.topic, poison.payload, poison.packet_id)
    assert not poison.is_too_large
    assert hashlib.sha256(b"payload").hexdigest() == poison.payload_sha256
    assert (b'{"n":1}', 2) == (good.payload, good.packet_id)


def test_where_the_length_of_the_properties_lies_everything_behind_the_packet_id_is_payload() -> (
    None
):
    poison = decode(PROPERTIES_BEYOND).publishes[0]

    assert b"\x7fpayload" == poison.payload


@pytest.mark.parametrize("chunk_bytes", [1 << 20, 65_536, 1_000, 7])
def test_a_publish_over_the_bound_streams_by_and_leaves_its_head_size_and_hash(
    chunk_bytes: int,
) -> None:
    payload = bytes(range(256)) * 1_200
    stream = publish(payload, packet_id=5) + GOOD
    chunks = [stream[i : i + chunk_bytes] for i in range(0, len(stream), chunk_bytes)]

    decoder = decode(*chunks, packet_bytes_max=100_000)

    poison, good = decoder.publishes
    assert isinstance(poison, PoisonPublish)
    assert poison.is_too_large
    assert payload[:POISON_HEAD_BYTES] == poison.payload
    assert (len(payload), 5) == (poison.payload_bytes, poison.packet_id)
    assert hashlib.sha256(payload).hexdigest() == poison.payload_sha256
    assert 2 == good.packet_id


def test_a_declared_size_of_256_mb_is_never_buffered() -> None:
    head = b"\x32\xff\xff\xff\x7f" + b"\x00\x01a" + b"\x00\x07" + b"\x00"
    decoder = decode(head)

    for _ in range(40):
        decoder.feed(bytes(1 << 20))

    assert [] == decoder.publishes
    assert len(decoder._pending) < 1 << 20  # noqa: SLF001  the bound is what is tested
    for _ in range(215):
        decoder.feed(bytes(1 << 20))
    assert [] == decoder.publishes
    decoder.feed(bytes(268_435_455 + 5 - len(head) - (255 << 20)))
    assert [7] == [each.packet_id for each in decoder.publishes]


@pytest.mark.parametrize("chunk_bytes", [262_144, 9_999, 41])
def test_a_large_publish_that_is_nearly_all_properties_is_skipped_like_an_oversized_one(
    chunk_bytes: int,
) -> None:
    stream = publish(b"payload", packet_id=5, properties=[("k", "v")] * 60_000) + GOOD
    chunks = [stream[i : i + chunk_bytes] for i in range(0, len(stream), chunk_bytes)]

    poison, good = decode(*chunks).publishes

    assert isinstance(poison, PoisonPublish)
    assert "properties of more than 65536 bytes" == poison.detail
    assert (5, 2) == (poison.packet_id, good.packet_id)


def test_an_oversized_publish_whose_properties_exceed_what_is_kept_is_still_told() -> None:
    properties = [("k" * 60_000, "v" * 60_000)] * 6
    stream = publish(b"payload", packet_id=5, properties=properties) + GOOD

    poison, good = decode(stream, packet_bytes_max=1_000).publishes

    assert (5, 2) == (poison.packet_id, good.packet_id)


@pytest.mark.parametrize(
    ("stream", "reason_code"),
    [
        pytest.param(raw_publish(b"\x00\x01a\x00\x00\x00x"), 0x81, id="packet id 0"),
        pytest.param(raw_publish(b"\x00\x01\xff\x00\x00\x00x"), 0x81, id="id 0 and no UTF-8"),
        pytest.param(publish(topic_alias=3), 0x81, id="topic alias"),
        pytest.param(publish(qos=2, packet_id=3), 0x9B, id="QoS 2"),
        pytest.param(raw_publish(b"\x00\x01a\x00\x01\x00", first=0x36), 0x81, id="QoS 3"),
        pytest.param(b"\x32\xff\xff\xff\xff\x7f", 0x81, id="length of five bytes"),
        pytest.param(b"\xd0\x01x", 0x81, id="PINGRESP with a body"),
        pytest.param(b"\x00\x00", 0x81, id="packet type 0"),
        pytest.param(raw_publish(b"\x00\x09a"), 0x81, id="topic beyond the packet"),
        pytest.param(b"\xe0\xff\xff\xff\x7f", 0x95, id="256 MB DISCONNECT"),
    ],
)
def test_lost_framing_and_broken_packet_rules_end_the_connection_with_their_reason(
    stream: bytes, reason_code: int
) -> None:
    decoder = Decoder(packet_bytes_max=1 << 20)

    with pytest.raises(PeerError) as caught:
        decoder.feed(GOOD + stream)

    assert reason_code == caught.value.reason_code
    assert [2] == [each.packet_id for each in decoder.publishes], "what came before is kept"


def test_the_connack_of_an_mqtt_3_broker_is_recognised() -> None:
    assert [Mqtt3ConnAck(return_code=1)] == decode(b"\x20\x02\x00\x01").controls


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_arbitrary_bytes_give_packets_or_a_peer_error_and_nothing_else(data: bytes) -> None:
    decoder = Decoder(packet_bytes_max=1_024)

    with contextlib.suppress(PeerError):
        decoder.feed(data)
        decoder.feed(data)

    assert all(each.packet_id != 0 for each in decoder.publishes)


@given(st.binary(max_size=120), st.integers(0, 200), st.integers(0, 255))
@settings(max_examples=500, deadline=None)
def test_a_publish_with_any_one_byte_changed_never_raises_anything_but_a_peer_error(
    payload: bytes, position: int, byte: int
) -> None:
    packet = bytearray(publish(payload, properties=[("key", "value")], packet_id=77))
    packet[position % len(packet)] = byte
    decoder = Decoder(packet_bytes_max=1_024)

    with contextlib.suppress(PeerError):
        decoder.feed(bytes(packet) + GOOD)

    assert all(each.packet_id != 0 for each in decoder.publishes)


@given(st.lists(st.integers(1, 65_535), max_size=300))
def test_joined_pubacks_are_what_the_codec_writes_one_by_one(packet_ids: list[int]) -> None:
    expected = b"".join(mqtt5.PubAckPacket(each).write() for each in packet_ids)

    assert expected == encode_pubacks(packet_ids)
