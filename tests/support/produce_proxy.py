"""A proxy that a test lets lose or refuse Produce requests, one partition at a time.

It speaks of what librdkafka sends: Produce of version 9 and above, of one partition each.
"""

import struct
from collections import Counter
from typing import Final, TypeAlias

from tests.support.kafka_frames import (
    ANSWER,
    REQUEST,
    SIZE,
    read_uvarint,
    skip_tags,
    skip_text,
    uvarint,
    with_size,
)
from tests.support.kafka_proxy import PRODUCE, Frames, KafkaProxy

_FLEXIBLE: Final = 9
_API_VERSIONS: Final = 18
_NOT_LEADER_OR_FOLLOWER: Final = 6
_ACKS_AND_TIMEOUT_BYTES: Final = 6
_OF_A_PARTITION: Final = struct.Struct(">ihqqq")
"""Index, error code, base offset, LogAppendTime, start of the log."""

Place: TypeAlias = tuple[str, int]
"""A topic and a partition."""


class ProduceProxy(KafkaProxy):
    """Every link to the cluster; what happens to Produce depends on the partition."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(bootstrap)
        self.requests_lost_of: Place | None = None
        """Its requests never arrive."""
        self.answers_lost_of: Place | None = None
        """Its requests arrive, and nobody hears of it."""
        self.refused: Counter[Place] = Counter()
        """So many of its next requests do not arrive, and the answer is that this broker does not
        lead it."""
        self.lost: Counter[Place] = Counter()
        """Requests and answers that were lost."""

    def make_filter(self) -> Frames:
        """Return what sees the frames of one more connection."""
        return _ProduceFrames(self)


class _ProduceFrames(Frames):
    def __init__(self, owner: ProduceProxy) -> None:
        super().__init__(owner)
        self._levers = owner
        self._places: dict[int, Place] = {}
        self._refusals: dict[int, bytes] = {}

    def request(self, frame: bytes) -> bytes:
        """Lose a Produce request, or have something else answered in its place."""
        _, api, version, number = REQUEST.unpack_from(frame)
        if api != PRODUCE:
            return frame
        assert version >= _FLEXIBLE, f"Produce of version {version} is not read here"
        levers, place = self._levers, _place_of(frame)
        if place == levers.requests_lost_of:
            levers.lost[place] += 1
            return b""
        if levers.refused[place] > 0:
            levers.refused[place] -= 1
            self._refusals[number] = _refusal(number, place)
            # Any other question with this number: its answer makes room for the refusal.
            return with_size(REQUEST.pack(0, _API_VERSIONS, 0, number) + struct.pack(">h", -1))
        self._places[number] = place
        return frame

    def answer(self, frame: bytes) -> bytes:
        """Lose the answer of a Produce, or refuse."""
        _, number = ANSWER.unpack_from(frame)
        if (refusal := self._refusals.pop(number, None)) is not None:
            return refusal
        place = self._places.pop(number, None)
        if place is not None and place == self._levers.answers_lost_of:
            self._levers.lost[place] += 1
            return b""
        return super().answer(frame)


def _place_of(frame: bytes) -> Place:
    at = skip_text(frame, REQUEST.size, is_flexible=False)  # Client id.
    at = skip_tags(frame, at)
    at = skip_text(frame, at, is_flexible=True) + _ACKS_AND_TIMEOUT_BYTES  # Transactional id.
    topics, at = read_uvarint(frame, at)
    length, at = read_uvarint(frame, at)
    topic = frame[at : at + length - 1].decode()
    partitions, at = read_uvarint(frame, at + length - 1)
    assert (2, 2) == (topics, partitions), "more than one partition in a Produce request"
    (partition,) = SIZE.unpack_from(frame, at)
    return topic, partition


def _refusal(number: int, place: Place) -> bytes:
    topic, partition = place
    one, none, no_tags = uvarint(2), uvarint(1), b"\0"
    answered = _OF_A_PARTITION.pack(partition, _NOT_LEADER_OR_FOLLOWER, -1, -1, -1)
    no_message = b"\0"
    parts = [
        ANSWER.pack(0, number) + no_tags,
        one + uvarint(len(topic) + 1) + topic.encode(),
        one + answered + none + no_message + no_tags,
        no_tags + struct.pack(">i", 0) + no_tags,  # Of the topic; throttled for 0 ms; the answer's.
    ]
    return with_size(b"".join(parts))
