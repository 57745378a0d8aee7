"""Rules of the [kafka] section: addresses, SASL, and which librdkafka properties are allowed."""

import difflib
from collections.abc import Iterator, Mapping

from bridge.config.addresses import host_and_port, is_loopback
from bridge.config.librdkafka_properties import PROPERTIES
from bridge.config.paths import KeyPath, looks_secret, quoted, shown
from bridge.config.problems import Problem
from bridge.config.sections import KafkaSection, Secret

QUEUE_KBYTES_MIN = 4_096
_QUEUE_KBYTES = "queue.buffering.max.kbytes"
_PROMISE = "the promise rests on {why}; remove it"
_REFUSED: Mapping[str, str] = {
    "enable.idempotence": _PROMISE.format(why="an idempotent producer, which is always on"),
    "acks": _PROMISE.format(why="acks=all, which is always set"),
    "request.required.acks": _PROMISE.format(why="acks=all, which is always set"),
    "message.timeout.ms": _PROMISE.format(why="records that never time out in the producer"),
    "delivery.timeout.ms": _PROMISE.format(why="records that never time out in the producer"),
    "retries": _PROMISE.format(why="retries without a limit"),
    "message.send.max.retries": _PROMISE.format(why="retries without a limit"),
    "max.in.flight": "it stands in kafka.requests_in_flight_max; write it there",
    "max.in.flight.requests.per.connection": (
        "it stands in kafka.requests_in_flight_max; write it there"
    ),
    "queuing.strategy": _PROMISE.format(why="the order of records, which this can break"),
    "partitioner": _PROMISE.format(why="murmur2_random: a device stays in its partition"),
    "transactional.id": _PROMISE.format(why="a producer without transactions"),
    "enable.gapless.guarantee": _PROMISE.format(
        why="the bridge's own handling of a refused record"
    ),
    "delivery.report.only.error": _PROMISE.format(why="a delivery report for each record"),
    "bootstrap.servers": "it stands in kafka.bootstrap_servers; write it there",
    "metadata.broker.list": "it stands in kafka.bootstrap_servers; write it there",
    "sasl.username": "it stands in kafka.username; write it there",
    "sasl.password": "it stands in kafka.password; write it there",
    "enabled_events": "it would take from the bridge the delivery reports it waits for; remove it",
    "enable_sasl_queue": "it is set by the program, not by a file; remove it",
    "opaque": "it is set by the program, not by a file; remove it",
    "interceptors": "it is set by the program, not by a file; remove it",
    "default_topic_conf": "it is set by the program, not by a file; remove it",
    "default.topic.config": "it is set by the program, not by a file; name its properties here",
    "on_delivery": "it is a callback, which no file can hold; remove it",
    "logger": "it is set by the program, not by a file; write log.level",
}
_SECRETS = frozenset({"ssl.key.pem", "sasl.oauthbearer.assertion.private.key.pem"})
_SIMULATED = "test.mock.num.brokers"
_INTEGER_SPAN = " .. "


def check(kafka: KafkaSection) -> Iterator[Problem]:
    """Yield everything that is wrong or doubtful in the [kafka] section."""
    yield from _check_servers(kafka.bootstrap_servers)
    yield from _check_sasl(kafka)
    for name, value in kafka.properties.items():
        path = ("kafka", "properties", name)
        if problem := _name_problem(name) or _value_problem(name, value):
            yield Problem(path, problem)
        elif name == _QUEUE_KBYTES and int(value) < QUEUE_KBYTES_MIN:  # type: ignore[arg-type]
            yield Problem(
                path,
                f"{value} is below {QUEUE_KBYTES_MIN}: one record might never fit into the queue;"
                " raise it, or remove it",
            )
        elif name == _SIMULATED and value not in {0, "0"}:
            yield Problem(
                path, "Kafka is only simulated, nothing is kept; remove it", is_warning=True
            )


def is_secret_property(name: str) -> bool:
    """Tell whether a librdkafka property holds a secret, which is never inline."""
    return name in _SECRETS or "password" in name or "secret" in name


def _check_servers(servers: str) -> Iterator[Problem]:
    for server in servers.split(","):
        try:
            host_and_port(server.strip(" "))
        except ValueError as error:
            yield Problem(
                ("kafka", "bootstrap_servers"),
                f"{quoted(server)} {error}, with a comma between two of them",
            )


def _check_sasl(kafka: KafkaSection) -> Iterator[Problem]:
    username: KeyPath = ("kafka", "username")
    password: KeyPath = ("kafka", "password")
    if kafka.password is not None and kafka.username is None:
        yield Problem(
            password,
            "there is no kafka.username to go with it; write one, or remove the password",
            also=(username,),
        )
    if kafka.username is not None and kafka.password is None:
        yield Problem(
            username,
            'there is no kafka.password to go with it; write password = { file = "..." }',
            also=(password,),
        )
    protocol = str(kafka.properties.get("security.protocol", "")).lower()
    about: tuple[KeyPath, ...] = (
        ("kafka", "properties", "security.protocol"),
        ("kafka", "bootstrap_servers"),
    )
    if kafka.username is not None and protocol in {"plaintext", "ssl"}:
        yield Problem(
            username,
            f"is not sent, since security.protocol is {quoted(protocol)}; write"
            ' properties = { "security.protocol" = "SASL_SSL" }',
            also=about,
            is_warning=True,
        )
    # With a user name the default is SASL_SSL, so only the operator can ask for the open.
    is_in_the_open = protocol == "sasl_plaintext"
    if kafka.password is not None and is_in_the_open and not _are_loopback(kafka):
        yield Problem(
            password,
            f"goes to {quoted(kafka.bootstrap_servers)} without TLS, readable on the way; write"
            ' properties = { "security.protocol" = "SASL_SSL" }',
            also=about,
            is_warning=True,
        )


def _are_loopback(kafka: KafkaSection) -> bool:
    try:
        servers = [host_and_port(text.strip(" ")) for text in kafka.bootstrap_servers.split(",")]
    except ValueError:
        return True  # Reported already; a doubt about TLS would only be noise.
    return all(is_loopback(host) for host, _ in servers)


def _name_problem(name: str) -> str | None:
    if name in _REFUSED:
        return f"is refused: {_REFUSED[name]}"
    if name.endswith("_cb"):
        return "is refused: it is a callback, which no file can hold; remove it"
    if name in PROPERTIES:
        return None
    close = difflib.get_close_matches(name.lower().replace("_", "."), PROPERTIES, n=1)
    if close:
        return f'unknown librdkafka property; meant "{close[0]}"?'
    return "unknown librdkafka property; its CONFIGURATION.md lists those there are"


def _value_problem(name: str, value: str | float | Secret) -> str | None:
    if isinstance(value, Secret):
        return None
    if is_secret_property(name):
        return f'a secret is never inline; write {quoted(name)} = {{ file = "..." }}'
    allowed = PROPERTIES[name]
    if not allowed:
        return None
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    if _INTEGER_SPAN in allowed:
        low, high = allowed.split(_INTEGER_SPAN)
        if _is_between(text, float(low), float(high)):
            return None
        expected = f"Expected a number from {low} to {high}"
    else:
        if text.lower() in allowed.lower().split(", ") or name == "ssl.providers":
            return None
        expected = f"Expected one of {allowed}"
    path = ("kafka", "properties", name)
    hint = "" if looks_secret(path) else f", got {shown(value, path)}"
    return expected + hint


def _is_between(text: str, low: float, high: float) -> bool:
    try:
        return low <= float(text) <= high
    except ValueError:
        return False
