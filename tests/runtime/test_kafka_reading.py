"""What a reader takes over from the producer: all that says how the brokers are reached."""

import pytest

from bridge.kafka.properties import Value
from bridge.runtime.kafka_reading import reader_properties


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("security.protocol", "SSL"),
        ("ssl.ca.location", "/ca.pem"),
        ("enable.ssl.certificate.verification", False),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("enable.sasl.oauthbearer.unsecure.jwt", True),
        ("https.ca.location", "/ca.pem"),
        ("socket.keepalive.enable", True),
        ("broker.address.family", "v4"),
        ("client.rack", "a"),
        ("client.dns.lookup", "resolve_canonical_bootstrap_servers_only"),
        ("plugin.library.paths", "/own.so"),
    ],
)
def test_a_reader_reaches_the_brokers_as_the_producer_does(name: str, value: Value) -> None:
    properties: dict[str, Value] = {"bootstrap.servers": "kafka:9092", name: value}

    reader = reader_properties(properties, "group")

    assert (value, "kafka:9092") == (reader[name], reader["bootstrap.servers"])


@pytest.mark.parametrize("name", ["linger.ms", "compression.type", "enable.idempotence"])
def test_what_is_about_producing_is_not_taken_over(name: str) -> None:
    assert name not in reader_properties({"bootstrap.servers": "kafka:9092", name: 1}, "group")
