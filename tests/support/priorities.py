"""Three routes, high, medium and low, with a Kafka topic each, and devices that speak to them."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.support.devices import DeviceMessage, telemetry

PRIORITIES: Final = ("high", "medium", "low")
"""Each is the first level of its MQTT topics, too."""


def routes(
    topics: Mapping[str, str], *, priorities: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return the routes to these Kafka topics, by priority; `priorities` gives others to them."""
    given = {name: name for name in topics} | dict(priorities or {})
    return [
        {"filter": f"{name}/+/telemetry", "kafka_topic": topic, "priority": given[name]}
        for name, topic in topics.items()
    ]


def speak(
    priority: str, devices: int, messages: int | None = None, *, first: int = 0
) -> Iterator[DeviceMessage]:
    """Yield telemetry of `<priority>-0` and on in turn; without a number of messages for ever."""
    for number in itertools.islice(itertools.count(first), messages):
        device_id = f"{priority}-{number % devices}"
        yield telemetry(device_id, number, mqtt_topic=f"{priority}/{device_id}/telemetry")
