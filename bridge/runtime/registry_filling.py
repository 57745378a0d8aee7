"""Filling the registry's Kafka topic: compare with what is there, produce what differs."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from bridge.errors import UnavailableError
from bridge.fleet.registry import DeviceEntry, encode_entry
from bridge.kafka.properties import Value
from bridge.runtime.registry_topic import RegistryTopic, TopicUnavailableError

FLUSH_S: Final = 60.0
"""A hundred thousand records take some three seconds; a cluster that is away ends the wait."""
_DELIVERY_TIMEOUT_MS: Final = 50_000


class Difference(msgspec.Struct, frozen=True):
    """What has to be written so that the topic says what the file says."""

    added: dict[str, DeviceEntry]
    changed: dict[str, DeviceEntry]
    removed: list[str]
    unchanged: int
    kept: int
    """Devices that the file does not have and that are left in the topic."""

    def records(self) -> Iterator[tuple[str, bytes | None]]:
        """Give key and value of each record; no value removes a device."""
        for entries in (self.added, self.changed):
            for device_id, entry in entries.items():
                yield device_id, encode_entry(entry)
        for device_id in self.removed:
            yield device_id, None


def find_difference(
    there: Mapping[str, DeviceEntry], wanted: Mapping[str, DeviceEntry], *, keeps: bool
) -> Difference:
    """Compare; with `keeps` nothing is removed."""
    gone = [device_id for device_id in there if device_id not in wanted]
    changed = {
        device_id: entry
        for device_id, entry in wanted.items()
        if device_id in there and there[device_id] != entry
    }
    added = {device_id: entry for device_id, entry in wanted.items() if device_id not in there}
    return Difference(
        added=added,
        changed=changed,
        removed=[] if keeps else gone,
        unchanged=len(wanted) - len(added) - len(changed),
        kept=len(gone) if keeps else 0,
    )


def read_topic(properties: Mapping[str, Value], kafka_topic: str) -> dict[str, DeviceEntry]:
    """Read what the topic says; a record that is no entry counts as none.

    Raises:
        UnavailableError: It cannot be read.
    """
    topic = RegistryTopic(properties, kafka_topic)
    try:
        update = topic.read_all()
    except TopicUnavailableError as error:
        raise UnavailableError(
            f"Kafka topic {kafka_topic} could not be read: {error}; it must be there, with"
            " cleanup.policy=compact, and the right to READ it"
        ) from error
    finally:
        topic.close()
    return {device_id: entry for device_id, entry in update.changes.items() if entry is not None}


def write_records(
    properties: Mapping[str, Value], kafka_topic: str, difference: Difference
) -> None:
    """Produce every record and wait until Kafka has confirmed it.

    Raises:
        UnavailableError: Not all are confirmed; says how many, and writing again does the rest.
    """
    settings: dict[str, Any] = {
        **properties,
        "message.timeout.ms": _DELIVERY_TIMEOUT_MS,
        "linger.ms": 50,
        "log_level": 0,
    }
    producer = Producer(settings)
    confirmed, errors = 0, list[str]()

    def note(error: KafkaError | None, _: Message) -> None:
        nonlocal confirmed
        if error is None:
            confirmed += 1
        else:
            errors.append(f"{error.name()}: {error.str()}")

    for key, value in difference.records():
        _produce(producer, kafka_topic, key, value, note)
    unanswered = producer.flush(FLUSH_S)
    if errors or unanswered:
        reason = errors[0] if errors else "no answer"
        raise UnavailableError(
            f"Kafka topic {kafka_topic} has confirmed {confirmed} of"
            f" {confirmed + len(errors) + unanswered} records: {reason};"
            " load again, only what is missing will be written"
        )


def _produce(
    producer: Producer,
    kafka_topic: str,
    key: str,
    value: bytes | None,
    note: Any,  # noqa: ANN401 - librdkafka's callback
) -> None:
    while True:
        try:
            producer.produce(kafka_topic, value, key.encode(), on_delivery=note)
        except BufferError:
            producer.poll(0.1)
            continue
        except KafkaException as error:
            note(error.args[0], None)
        producer.poll(0)
        return
