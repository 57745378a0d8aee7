"""The newest records of a Kafka topic, for `check --sample`; blocking, without a trace."""

from collections.abc import Iterator, Mapping
from typing import Final

from confluent_kafka import Message

from bridge.pipeline.sampling import shares
from bridge.runtime.topic_reading import TopicReading

_GROUP: Final = "mqtt-kafka-bridge-check"
_BATCH: Final = 1_000


class SampledTopic(TopicReading):
    """Reads the end of a topic."""

    remedies: Mapping[str, str] = {
        "UNKNOWN_TOPIC_OR_PART": "create the topic, or name another with --topic",
        "TOPIC_AUTHORIZATION_FAILED": "grant READ and DESCRIBE on the topic",
    }


def read_sample(
    properties: Mapping[str, str | int | float | bool],
    kafka_topic: str,
    *,
    count: int,
    since_us: int | None,
) -> Iterator[Message]:
    """Give the last records, an even share of each partition; from `since_us` on, if it is given.

    Where compaction or transactions have left offsets without a record, there are fewer.

    Raises:
        UnavailableError: The cluster does not answer, or refuses.
    """
    topic = SampledTopic(properties, kafka_topic, _GROUP)
    try:
        extent = topic.extent()
        earliest = topic.starts_since(since_us, extent)
        ends = extent.ends
        dealt = shares({place: ends[place] - earliest[place] for place in ends}, count)
        starts = {place: ends[place] - number for place, number in dealt.items()}
        for messages in topic.read_messages(starts, ends, batch=_BATCH):
            yield from messages
    finally:
        topic.close()
