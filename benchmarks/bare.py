"""A bare producer: the messages of the devices straight to Kafka, with nothing in between."""

import argparse
import time

from confluent_kafka import Producer

from benchmarks.steady import messages
from benchmarks.terms import Terms

_TICK_S = 0.001


def main() -> None:
    """Produce at a rate, until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, required=True)
    own, others = parser.parse_known_args()
    terms = Terms.from_arguments(others)
    producer = Producer(terms.producer_properties())
    began_s, sent = time.monotonic(), 0
    due = messages()
    while True:
        while sent < (time.monotonic() - began_s) * own.rate:
            message = next(due)
            producer.produce(
                terms.kafka_topic,
                message.payload,
                message.topic.split("/")[1],
                headers=[("content-type", b"application/json"), ("idempotency-key", b"x" * 61)],
            )
            sent += 1
        producer.poll(_TICK_S)


if __name__ == "__main__":
    main()
