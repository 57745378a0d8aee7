"""Who is more important: as the routes say it of Kafka topics, and the registry of devices."""

from collections.abc import Iterable

from bridge.config.sections import Route
from bridge.fleet.registry import Registry
from bridge.spool.shedding import Importance


class Importances:
    """Tell how important a record is.

    A Kafka topic is as important as the most important route that writes it: within one topic the
    order of a device's records goes before priority. Dead letters are for people, so medium. What
    the registry says of a device goes before what its route says.
    """

    def __init__(
        self, routes: Iterable[Route], dead_letter_topic: str, registry: Registry | None
    ) -> None:
        self._registry = registry
        self._dead_letter_topic = dead_letter_topic
        self.learn(routes)

    def learn(self, routes: Iterable[Route]) -> None:
        """Go by these routes from now on."""
        self._of_topic: dict[str, Importance] = {}
        for route in routes:
            importance = Importance[route.priority.upper()]
            known = self._of_topic.get(route.kafka_topic, Importance.LOW)
            self._of_topic[route.kafka_topic] = max(importance, known)
        self._of_routes = frozenset(self._of_topic.values())
        self._of_topic.setdefault(self._dead_letter_topic, Importance.MEDIUM)

    def of_topic(self, kafka_topic: str) -> Importance:
        """Tell it of a topic; one that no route writes any more is of medium importance."""
        return self._of_topic.get(kafka_topic, Importance.MEDIUM)

    def of_record(self, kafka_topic: str, key: bytes) -> Importance:
        """Tell it of a record, by its Kafka topic and device id."""
        if self._registry is not None:
            entry = self._registry.get(key.decode("utf-8", "replace"))
            if entry is not None and entry.priority is not None:
                return Importance[entry.priority.upper()]
        return self.of_topic(kafka_topic)

    def classes(self) -> frozenset[Importance]:
        """List those that there are now; walks the registry."""
        entries = () if self._registry is None else self._registry.entries().values()
        own = {each.priority for each in entries if each.priority is not None}
        classes = self._of_routes | {Importance[each.upper()] for each in own}
        # Dead letters wait for what is important, and nothing waits for them.
        return classes | {Importance.MEDIUM} if Importance.HIGH in classes else classes
