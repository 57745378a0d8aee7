"""What differs between two configurations, and how each difference takes hold."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.config.changes import (
    Takes,
    changes_between,
    link_files,
    merge,
    renewed_by_restart,
    renewed_live,
    rule_files,
)
from bridge.config.sections import BridgeConfig


def config(**sections: Any) -> BridgeConfig:
    return msgspec.convert(sections, BridgeConfig)


PLAIN = config()
TLS = {"ca_file": "/ca", "cert_file": "/cert", "key_file": "/key"}


@pytest.mark.parametrize(
    ("sections", "key", "takes"),
    [
        (
            {"validation": {"ranges": {"temperature": [0, 1]}}},
            "validation.ranges.temperature",
            "live",
        ),
        ({"validation": {"timestamp_age_max_s": 60}}, "validation.timestamp_age_max_s", "live"),
        ({"limits": {"burst": 5}}, "limits.burst", "live"),
        ({"route": [{"priority": "high"}]}, "route[0].priority", "live"),
        ({"log": {"level": "debug"}}, "log.level", "live"),
        ({"mqtt": {"username": "b"}}, "mqtt.username", "mqtt_reconnect"),
        ({"mqtt": {"password": {"env": "P"}}}, "mqtt.password.env", "mqtt_reconnect"),
        (
            {"kafka": {"properties": {"linger.ms": 5}}},
            'kafka.properties."linger.ms"',
            "kafka_reconnect",
        ),
        ({"kafka": {"username": "k"}}, "kafka.username", "kafka_reconnect"),
        ({"kafka": {"bootstrap_servers": "other:9092"}}, "kafka.bootstrap_servers", "restart"),
        ({"mqtt": {"port": 1884}}, "mqtt.port", "restart"),
        ({"mqtt": {"tls": {}}}, "mqtt.tls.minimum_version", "restart"),
        ({"dead_letter": {"kafka_topic": "d"}}, "dead_letter.kafka_topic", "restart"),
        ({"validation": {"clock_offset_max_s": 5}}, "validation.clock_offset_max_s", "restart"),
        ({"log": {"format": "json"}}, "log.format", "restart"),
        ({"registry": {"file": "/devices.toml"}}, "registry.file", "restart"),
        ({"dedup": {"keys_max": 5}}, "dedup.keys_max", "restart"),
    ],
)
def test_each_key_takes_hold_in_its_way(sections: Any, key: str, takes: str) -> None:
    changes = {each.key: each for each in changes_between(PLAIN, config(**sections))}

    assert Takes(takes) is changes[key].takes


def test_nothing_differs_between_equals() -> None:
    assert [] == changes_between(PLAIN, config())


def test_a_change_is_said_with_both_values() -> None:
    (change,) = changes_between(PLAIN, config(validation={"ranges": {"humidity": [5, 95]}}))

    assert "validation.ranges.humidity: [0.0, 100.0] -> [5.0, 95.0]" == change.text


def test_a_route_that_came_is_said_key_by_key() -> None:
    two = config(route=[{}, {"filter": "sites/+/t", "kafka_topic": "sites"}])

    texts = [each.text for each in changes_between(PLAIN, two)]

    assert 'route[1].filter: absent -> "sites/+/t"' in texts
    assert 'route[1].kafka_topic: absent -> "sites"' in texts


def test_of_a_secret_only_its_source_is_said() -> None:
    before = config(mqtt={"password": {"file": "/old"}})

    (change,) = changes_between(before, config(mqtt={"password": {"file": "/new"}}))

    assert 'mqtt.password.file: "/old" -> "/new"' == change.text


def test_what_runs_on_has_what_is_live_and_nothing_of_the_rest() -> None:
    wanted = config(
        mqtt={"keep_alive_s": 5, "username": "b"},
        kafka={"quiet_s": 1, "properties": {"linger.ms": 5}},
        limits={"burst": 3},
        spool={"after_s": 1},
        log={"level": "debug", "format": "json"},
    )

    merged = merge(PLAIN, wanted)

    assert (30, "b") == (merged.mqtt.keep_alive_s, merged.mqtt.username)
    assert (2.0, {"linger.ms": 5}) == (merged.kafka.quiet_s, merged.kafka.properties)
    assert (3, 5.0, "debug", "auto") == (
        merged.limits.burst,
        merged.spool.after_s,
        merged.log.level,
        merged.log.format,
    )


def test_credentials_wait_with_the_address_that_they_are_for() -> None:
    before = config(mqtt={"username": "old"}, kafka={"username": "old"})
    wanted = config(
        mqtt={"host": "other", "username": "new"},
        kafka={"bootstrap_servers": "other:1", "username": "new"},
    )

    merged = merge(before, wanted)

    assert ("old", "old") == (merged.mqtt.username, merged.kafka.username)
    takes = {each.key: each.takes for each in changes_between(before, wanted)}
    assert {Takes.RESTART} == set(takes.values()), takes


def test_no_password_goes_over_a_link_that_is_to_have_tls() -> None:
    wanted = config(mqtt={"tls": {}, "password": {"env": "P"}})

    assert None is merge(PLAIN, wanted).mqtt.password


def test_certificates_of_a_link_that_has_tls_change_live() -> None:
    before = config(mqtt={"tls": TLS})

    (change,) = changes_between(before, config(mqtt={"tls": {**TLS, "ca_file": "/other"}}))

    assert ("mqtt.tls.ca_file", Takes.MQTT_RECONNECT) == (change.key, change.takes)


def test_another_rest_is_taken_by_the_next_connection() -> None:
    before = config(mqtt={"tls": TLS})
    wanted = config(mqtt={"tls": TLS, "rest_ms": 0})

    (change,) = changes_between(before, wanted)

    assert ("mqtt.rest_ms", Takes.MQTT_RECONNECT) == (change.key, change.takes)
    assert merge(before, wanted).mqtt.rest_ms == 0


def test_how_many_requests_may_be_in_flight_is_taken_with_a_new_producer() -> None:
    before, wanted = config(), config(kafka={"requests_in_flight_max": 1})

    (change,) = changes_between(before, wanted)

    assert ("kafka.requests_in_flight_max", Takes.KAFKA_RECONNECT) == (change.key, change.takes)
    assert merge(before, wanted).kafka.requests_in_flight_max == 1


def test_the_files_of_each_link_are_known_and_what_systemd_holds_too(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    files = link_files(
        config(
            mqtt={"password": {"file": "/mqtt"}, "tls": TLS},
            kafka={
                "password": {"credential": "kafka"},
                "properties": {
                    "ssl.ca.location": str(authority),
                    "ssl.key.password": {"file": "/phrase"},
                },
            },
        ),
        {"CREDENTIALS_DIRECTORY": "/run/credentials/b"},
    )

    assert {Path("/mqtt"), Path("/ca"), Path("/cert"), Path("/key")} == files.mqtt
    assert {authority, Path("/phrase"), Path("/run/credentials/b/kafka")} == files.kafka


def test_a_certificate_that_is_missing_is_watched_for(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    properties = {"ssl.ca.location": str(absent), "ssl.certificate.location": str(absent / "c")}

    assert {absent, absent / "c"} == link_files(config(kafka={"properties": properties}), {}).kafka


def test_a_directory_of_authorities_is_not_watched(tmp_path: Path) -> None:
    there = config(kafka={"properties": {"ssl.ca.location": str(tmp_path)}})

    assert set() == link_files(there, {}).kafka


def test_an_authority_that_is_no_file_is_not_watched() -> None:
    probing = config(kafka={"properties": {"ssl.ca.location": "probe"}})

    assert set() == link_files(probing, {}).kafka


def test_what_is_renewed_live_and_what_by_a_restart_is_named() -> None:
    mixed = config(
        mqtt={"password": {"file": "/mqtt"}, "tls": TLS},
        kafka={"password": {"credential": "k"}, "properties": {"ssl.key.password": {"env": "P"}}},
    )

    assert [
        "mqtt.password",
        "mqtt.tls.ca_file",
        "mqtt.tls.cert_file",
        "mqtt.tls.key_file",
    ] == renewed_live(mixed)
    assert ["kafka.password", 'kafka.properties."ssl.key.password"'] == renewed_by_restart(mixed)


def test_descriptor_sets_are_rules() -> None:
    fields = {"timestamp": "t", "metrics": "m"}
    own = {"descriptor_set": "/own.pb", "message": "a.B", "fields": fields}

    assert {Path("/own.pb")} == rule_files(config(protobuf={"own": own}))
