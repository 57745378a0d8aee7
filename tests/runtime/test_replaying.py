"""A replay between another one of the same letters and what Kafka refuses."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from bridge.errors import UnavailableError
from bridge.kafka.partitions import Place
from bridge.pipeline.letters.letter import Letter
from bridge.pipeline.letters.marks import Committed
from bridge.pipeline.letters.pace import Pace
from bridge.pipeline.letters.selection import Order, Selection
from bridge.runtime.kafka_reading import Extent
from bridge.runtime.replay_transaction import RecordsRefusedError, ReplayTransactions
from bridge.runtime.replaying import Replay
from tests.pipeline.given import Packet, message
from tests.pipeline.letters.given import RECALL, letters_of, records_by, rejudging

PLACE: Place = ("telemetry-dlq", 3)


class Topic:
    """A dead letter topic of a few letters; `offset` is what the group has committed."""

    consumer = None

    def __init__(self, letters: Sequence[Letter]) -> None:
        self.offset = 0
        self._letters = letters

    def extent(self) -> Extent:
        return Extent({PLACE: 0}, {PLACE: len(self._letters)})

    def committed(self, places: Mapping[Place, int]) -> dict[Place, Committed]:
        return {place: Committed(self.offset, "") for place in places}

    def read(self, *_: object, **__: object) -> Iterator[Sequence[Letter]]:
        yield self._letters


class Refusing:
    """Transactions of which the first is refused, while another replay may commit."""

    def __init__(self, topic: Topic, *, another_commits: int) -> None:
        self._topic = topic
        self._another_commits = another_commits
        self.written: list[int] = []

    def write(self, _: Sequence[Any], offsets: Mapping[Place, Any], *__: Any, **___: Any) -> None:
        if not self.written:
            self.written.append(-1)
            self._topic.offset = self._another_commits
            raise RecordsRefusedError("MSG_SIZE_TOO_LARGE", 0)
        self.written.append(offsets[PLACE][0])


def replay_with(another_commits: int) -> tuple[Replay, Refusing]:
    recalled = {"firmware_version": "1.2.3"}
    packets = [
        Packet(payload=message(metadata=recalled, metrics={"humidity": number}))
        for number in range(4)
    ]
    topic = Topic(letters_of(records_by(packets, **RECALL)))
    transactions = Refusing(topic, another_commits=another_commits)
    replay = Replay(
        cast("Any", topic),
        Order(selection=Selection()),
        rejudging(),
        transactions=cast("ReplayTransactions", transactions),
        pace=Pace(None),
        limit=None,
        pause=lambda _: None,
    )
    return replay, transactions


def test_a_batch_that_is_refused_is_written_in_halves() -> None:
    replay, transactions = replay_with(another_commits=0)

    replay.run(lambda: None)

    assert [-1, 2, 4, 4] == transactions.written


def test_a_replay_stops_where_another_one_took_over() -> None:
    replay, transactions = replay_with(another_commits=4)

    with pytest.raises(UnavailableError, match="another replay of the same letters took over"):
        replay.run(lambda: None)

    assert [-1] == transactions.written


def test_a_patience_longer_than_a_transaction_is_no_hindrance() -> None:
    properties: dict[str, Any] = {"bootstrap.servers": "127.0.0.1:1", "socket.timeout.ms": 60_000}

    ReplayTransactions(properties, "replay")  # Librdkafka would refuse to make the producer.
