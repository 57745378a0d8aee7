import ctypes
from pathlib import Path

import confluent_kafka
import pytest

from bridge.config import kafka_rules
from bridge.config.librdkafka_properties import PROPERTIES
from bridge.config.sections import KafkaSection, Secret
from tests.config.support import problems_of


@pytest.mark.parametrize(
    "name",
    [
        "enable.idempotence",
        "acks",
        "request.required.acks",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "retries",
        "message.send.max.retries",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "partitioner",
        "transactional.id",
        "enable.gapless.guarantee",
        "delivery.report.only.error",
        "queuing.strategy",
        "bootstrap.servers",
        "metadata.broker.list",
        "sasl.username",
        "sasl.password",
        "error_cb",
        "dr_msg_cb",
        "on_delivery",
    ],
)
def test_a_property_that_the_promise_rests_on_is_refused(name: str) -> None:
    problems = list(kafka_rules.check(KafkaSection(properties={name: "1"})))

    assert [problem.path for problem in problems] == [("kafka", "properties", name)]
    assert problems[0].text.startswith("is refused: ")
    assert not problems[0].is_warning


@pytest.mark.parametrize(
    "name",
    [
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.key.pem",
        "sasl.oauthbearer.client.secret",
    ],
)
def test_a_secret_among_the_properties_is_never_inline_and_never_shown(
    tmp_path: Path, name: str
) -> None:
    text = f"[kafka.properties]\n'{name}' = 'hunter2'"

    problems = problems_of(tmp_path, text)

    assert problems == [
        (
            f'config file "x.toml" line 2: kafka.properties."{name}": a secret is never inline;'
            f' write "{name}" = {{ file = "..." }}'
        )
    ]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        pytest.param(
            "linger.mss", 5, 'unknown librdkafka property; meant "linger.ms"?', id="misspelt"
        ),
        pytest.param(
            "LINGER_MS", 5, 'unknown librdkafka property; meant "linger.ms"?', id="as a variable"
        ),
        pytest.param(
            "zzz",
            5,
            "unknown librdkafka property; its CONFIGURATION.md lists those there are",
            id="like no other",
        ),
        pytest.param(
            "linger.ms", 1e9, "Expected a number from 0 to 900000, got 1000000000.0", id="range"
        ),
        pytest.param(
            "linger.ms", "soon", 'Expected a number from 0 to 900000, got "soon"', id="no number"
        ),
        pytest.param(
            "compression.type",
            "zsdt",
            'Expected one of none, gzip, snappy, lz4, zstd, got "zsdt"',
            id="choice",
        ),
    ],
)
def test_what_librdkafka_would_refuse_is_found_without_it(
    name: str, value: str | float, problem: str
) -> None:
    problems = list(kafka_rules.check(KafkaSection(properties={name: value})))

    assert [found.text for found in problems] == [problem]


def test_properties_that_librdkafka_takes_are_taken() -> None:
    properties: dict[str, str | int | float | bool | Secret] = {
        "linger.ms": 5,
        "security.protocol": "SASL_SSL",
        "socket.keepalive.enable": True,
        "message.max.bytes": "1000000",
        "ssl.key.password": Secret(env="X"),
        "debug": "broker,msg",
    }

    problems = list(kafka_rules.check(KafkaSection(properties=properties)))

    assert problems == []


@pytest.mark.parametrize(
    ("servers", "problem"),
    [
        pytest.param("a:1,[::1]:2, c:3", None, id="list with spaces and IPv6"),
        pytest.param("a", '"a" has no host and port', id="no port"),
        pytest.param("a:1,", '"" has no host and port', id="comma at the end"),
        pytest.param("a:b", '"a:b" has a port that is no number', id="port of letters"),
        pytest.param("a:0", '"a:0" has a port that is not between 1 and 65535', id="port 0"),
        pytest.param("SSL://a:1", '"SSL://a:1" an IPv6 address needs brackets', id="scheme"),
    ],
)
def test_bootstrap_servers_are_host_and_port_each(servers: str, problem: str | None) -> None:
    problems = list(kafka_rules.check(KafkaSection(bootstrap_servers=servers)))

    assert [found.text[: len(problem or "")] for found in problems] == (
        [problem] if problem else []
    )


@pytest.mark.parametrize(
    ("kafka", "texts"),
    [
        pytest.param(
            KafkaSection(username="u"), ["there is no kafka.password"], id="name without password"
        ),
        pytest.param(
            KafkaSection(password=Secret(env="X")),
            ["there is no kafka.username"],
            id="password without name",
        ),
        pytest.param(
            KafkaSection(
                username="u",
                password=Secret(env="X"),
                bootstrap_servers="kafka:9092",
                properties={"security.protocol": "SASL_PLAINTEXT"},
            ),
            ['goes to "kafka:9092" without TLS'],
            id="password in the open",
        ),
        pytest.param(
            KafkaSection(
                username="u",
                password=Secret(env="X"),
                bootstrap_servers="kafka:9092",
                properties={"security.protocol": "SASL_SSL"},
            ),
            [],
            id="password over TLS",
        ),
        pytest.param(
            KafkaSection(
                username="u", password=Secret(env="X"), properties={"security.protocol": "ssl"}
            ),
            ['is not sent, since security.protocol is "ssl"'],
            id="name that is not sent",
        ),
    ],
)
def test_name_password_and_protocol_go_together(kafka: KafkaSection, texts: list[str]) -> None:
    problems = list(kafka_rules.check(kafka))

    assert [found.text[: len(text)] for found, text in zip(problems, texts, strict=True)] == texts


def test_the_list_of_properties_knows_every_one_of_the_installed_librdkafka() -> None:
    confluent_kafka.libversion()
    maps = Path("/proc/self/maps")
    paths = {line.split()[-1] for line in maps.read_text().splitlines() if "rdkafka" in line}
    libraries = [path for path in paths if ".so" in path and "cimpl" not in path]
    if not libraries:
        pytest.skip("librdkafka is linked into the extension itself")
    library = ctypes.CDLL(libraries[0])

    names = _dumped(library, "rd_kafka_conf") | _dumped(library, "rd_kafka_topic_conf")

    for_programs = {name for name in names if "_" in name} | {"opaque", "interceptors"}
    assert names - for_programs - set(PROPERTIES) == set()


def _dumped(library: ctypes.CDLL, kind: str) -> set[str]:
    """Return the properties with a value, of which librdkafka can make a list."""
    new, dump = getattr(library, f"{kind}_new"), getattr(library, f"{kind}_dump")
    new.restype = ctypes.c_void_p
    dump.restype = ctypes.POINTER(ctypes.c_char_p)
    dump.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)]
    count = ctypes.c_size_t()
    pairs = dump(new(), ctypes.byref(count))
    return {(pairs[index] or b"").decode() for index in range(0, count.value, 2)}
