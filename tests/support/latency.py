"""How old messages are when a consumer of Kafka gets them: from the device's clock to ours."""

import json
import threading
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from tests.support.kafka_client import KafkaClient

_BATCH = 1_000
_POLL_S = 0.02
_END_S = 30.0


class LatencyProbe:
    """Consumes a topic from its end; of each record it keeps when it came and how old it was."""

    def __init__(
        self,
        client: KafkaClient,
        topic: str,
        partitions: int,
        *,
        without: bytes | None = None,
        poll_s: float = _POLL_S,
    ) -> None:
        """`without` is a device that is not looked at; an age may be up to `poll_s` too large."""
        self.seen: list[tuple[float, float, int]] = []
        """The instant on the monotonic clock, the age in seconds, and the partition."""
        self._consumer: Consumer = client.consumer()
        self._topic = topic
        self._partitions = partitions
        self._without = without
        self._poll_s = poll_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="latency", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        # By number: "the end" is asked for only later, and what came meanwhile would be left out.
        places = [TopicPartition(self._topic, number) for number in range(self._partitions)]
        for place in places:
            ends = self._consumer.get_watermark_offsets(place, timeout=_END_S)
            assert ends is not None, f"{place}: no end"
            place.offset = ends[1]
        self._consumer.assign(places)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        self._over.set()
        self._thread.join(_END_S)
        self._consumer.close()

    def _run(self) -> None:
        while not self._over.is_set():
            for message in self._consumer.consume(_BATCH, timeout=self._poll_s):
                if message.error() is not None:
                    continue  # The topic may be deleted, and its leader away: that is the test.
                if self._without is not None and message.key() == self._without:
                    continue
                sent = json.loads(message.value() or b"{}").get("timestamp")
                age_s = time.time() - datetime.fromisoformat(sent).timestamp()
                self.seen.append((time.monotonic(), age_s, message.partition() or 0))

    def ages(self, since_s: float, until_s: float, *, without: Collection[int] = ()) -> list[float]:
        """Return the ages of what came between two instants, some partitions left out."""
        return [
            age_s
            for at_s, age_s, partition in self.seen
            if since_s <= at_s < until_s and partition not in without
        ]


def p99(ages: Sequence[float]) -> float:
    """Return the 99th percentile; not a number where nothing came."""
    if not ages:
        return float("nan")
    return sorted(ages)[min(len(ages) - 1, int(len(ages) * 0.99))]
