"""Whether Kafka answers: told by delivery reports while they flow, asked for when they do not."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bridge.kafka.partitions import partition_of
from bridge.runtime import clock
from bridge.runtime.kafka_producer import KafkaProducer
from bridge.spool.entry import bucket_of

ASK_TIMEOUT_S: Final = 2.0
ASK_EVERY_S: Final = 2.0
"""Pace of asking while all is well and idle (1 ms of CPU each); a second while it is not."""
ASK_AGAIN_S: Final = 1.0
FRESH_S: Final = 2.0
"""A delivery report younger than this is an answer."""


class KafkaWatch:
    """Know whether the cluster answers, and which topics it refuses."""

    def __init__(
        self,
        producer: KafkaProducer,
        kafka_topics: Sequence[str],
        *,
        last_confirmed_s: Callable[[], float | None],
        on_change: Callable[[], None],
    ) -> None:
        self.answers = False
        self.error = "not asked yet"
        """librdkafka's name of why it does not answer."""
        self.topic_errors: dict[str, str] = {}
        self.answered_s = clock.monotonic_s()
        """When it last answered, or confirmed a record."""
        self.answers_since_s = self.answered_s
        """Since when it answers without a break."""
        self._partitions: dict[str, int] = {}
        self._is_first = True
        self._is_doubted = asyncio.Event()
        self._producer = producer
        self.kafka_topics = tuple(dict.fromkeys(kafka_topics))
        self._last_confirmed_s = last_confirmed_s
        self._on_change = on_change
        # One thread: list_topics blocks, and the loop may not.
        self._thread = ThreadPoolExecutor(1, "kafka-watch")

    async def run(self) -> None:
        """Ask, wait, ask again, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            confirmed_s = self._last_confirmed_s()
            if (
                confirmed_s is None
                or clock.monotonic_s() - confirmed_s > FRESH_S
                or not self.answers
                or self.topic_errors
            ):
                error, topic_errors = await loop.run_in_executor(self._thread, self._ask)
                self._learn(error, topic_errors)
            else:
                self._learn(None, {}, confirmed_s)
            is_well = self.answers and not self.topic_errors
            self._is_doubted.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY_S if is_well else ASK_AGAIN_S):
                    await self._is_doubted.wait()

    def follow(self, kafka_topics: Iterable[str]) -> None:
        """Ask for these topics from now on."""
        self.kafka_topics = tuple(dict.fromkeys(kafka_topics))
        self._is_doubted.set()

    def note_partitions(self, partitions: Mapping[str, int]) -> None:
        """Learn from somebody else how many partitions topics have."""
        self._partitions |= partitions

    def group_of(self, kafka_topic: str, key: bytes) -> int:
        """Number the records of a topic that get stuck together: by partition, where known."""
        partitions = self._partitions.get(kafka_topic)
        return partition_of(key, partitions) if partitions and key else bucket_of(key)

    def doubt(self) -> None:
        """Ask at once: librdkafka says that all brokers are down."""
        if self.answers:
            self._learn("_ALL_BROKERS_DOWN", self.topic_errors)
            self._is_doubted.set()

    def _ask(self) -> tuple[str | None, dict[str, str]]:
        topic_errors: dict[str, str] = {}
        for kafka_topic in self.kafka_topics:
            answer = self._producer.ask_topic(kafka_topic, timeout_s=ASK_TIMEOUT_S)
            if not answer.is_answer:
                return answer.error, {}
            if answer.error is not None:
                topic_errors[kafka_topic] = answer.error
            else:
                self._partitions[kafka_topic] = answer.partitions
        return None, topic_errors

    def _learn(
        self, error: str | None, topic_errors: dict[str, str], answered_s: float | None = None
    ) -> None:
        answered_s = clock.monotonic_s() if answered_s is None else answered_s
        before = (self.answers, self.topic_errors)
        self.answers = error is None
        if self.answers and not before[0]:
            self.answers_since_s = clock.monotonic_s()
        if self.answers:
            self.answered_s = answered_s
        self.error = error or ""
        self.topic_errors = topic_errors
        # The first answer is always news: a Kafka that was never there is to be told as well.
        if self._is_first or before != (self.answers, self.topic_errors):
            self._is_first = False
            self._on_change()

    def close(self) -> None:
        """Let the thread end by itself; it never waits longer than `ASK_TIMEOUT_S` a topic."""
        self._thread.shutdown(wait=False, cancel_futures=True)
