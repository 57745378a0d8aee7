"""What the sections silence and gaps must not be, and where presence may stand."""

from collections.abc import Iterator

from bridge.config.paths import KeyPath, quoted
from bridge.config.problems import Problem
from bridge.config.rules import kafka_topic_problem
from bridge.config.sections import BridgeConfig

_TOPIC: KeyPath = ("silence", "kafka_topic")


def check(config: BridgeConfig) -> Iterator[Problem]:
    """Yield what is wrong with how silence is judged and told."""
    silence = config.silence
    if 0 < silence.multiplier < 1:
        yield Problem(
            ("silence", "multiplier"),
            f"{silence.multiplier:g} is less than one interval, so every device would be silent"
            " between two messages; write 3, or 0 for no alerts",
        )
    if problem := kafka_topic_problem(silence.kafka_topic):
        yield Problem(_TOPIC, f"{quoted(silence.kafka_topic)} {problem}")
    yield from _check_topic(config)
    for index, route in enumerate(config.route):
        if route.presence and route.kind != "opaque":
            yield Problem(
                ("route", index, "presence"),
                f"a route of kind {route.kind} carries readings, and no words of presence; write"
                ' kind = "opaque" for a route of its own, or remove it',
                also=(("route", index, "kind"),),
            )


def _check_topic(config: BridgeConfig) -> Iterator[Problem]:
    written: list[tuple[KeyPath, str, str]] = [
        (("route", index, "kafka_topic"), f"route[{index}]", route.kafka_topic)
        for index, route in enumerate(config.route)
    ]
    written += [
        (("dead_letter", "kafka_topic"), "dead_letter", config.dead_letter.kafka_topic),
        (("gaps", "kafka_topic"), "gaps", config.gaps.kafka_topic),
    ]
    if config.registry is not None and config.registry.kafka_topic is not None:
        written.append((("registry", "kafka_topic"), "registry", config.registry.kafka_topic))
    for other, name, taken in written:
        if taken == config.silence.kafka_topic:
            yield Problem(
                _TOPIC,
                f"{quoted(taken)} is the Kafka topic of {name} too, so alerts would lie among its"
                " records; give one of them another topic",
                also=(other,),
            )
