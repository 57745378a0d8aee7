"""The whole check in order: MQTT, Kafka, this host, as a message goes."""

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.config.sections import BridgeConfig
from bridge.runtime.live_check import host, kafka_facts, kafka_points, mqtt_points, spool
from bridge.runtime.live_check.fill import Fill
from bridge.runtime.live_check.kafka_facts import KafkaRefusedError
from bridge.runtime.live_check.mqtt import MqttCheck, without_fill
from bridge.runtime.live_check.peer_certificates import judge_kafka_brokers, read_der
from bridge.runtime.live_check.points import Point
from bridge.runtime.live_check.wanted import Later, Wishes, later_keys


def look(
    config: BridgeConfig,
    wishes: Wishes,
    *,
    mqtt_password: str | None,
    kafka_properties: Mapping[str, Any],
    environment: Mapping[str, str],
) -> list[Point]:
    """Ask everybody everything; no point that fails keeps the others from being looked at."""
    later = later_keys(config)
    return [
        *_look_at_mqtt(config, wishes, later, mqtt_password, environment),
        *_look_at_kafka(config, later, kafka_properties),
        *judge_kafka_brokers(kafka_properties, host.now_unix()),
        *spool.judge_spool(config, environment),
        *host.own_certificates(config, host.now_unix()),
        host.judge_clock(),
    ]


def _look_at_mqtt(
    config: BridgeConfig,
    wishes: Wishes,
    later: Later,
    password: str | None,
    environment: Mapping[str, str],
) -> Iterator[Point]:
    section = config.mqtt
    common_name = ""
    if section.tls is not None and section.tls.cert_file is not None:
        own = host.read_certificate(section.tls.cert_file)
        common_name = "" if isinstance(own, str) else own.common_name
    yield mqtt_points.judge_client_id(section, common_name, is_exclusive=wishes.is_exclusive)
    if wishes.is_exclusive and host.bridge_is_running(config):
        yield mqtt_points.still_running(config.ops.listen)
        return
    identity = mqtt_points.identity_in_use(section, common_name)
    if identity is not None and not wishes.is_exclusive:
        yield mqtt_points.not_connected(identity)
        return
    canary_key = host.read_canary_key(config, environment)
    check = MqttCheck(config, wishes, later, password=password, canary_key=canary_key)
    check.run()
    yield from check.points
    if check.server_certificate is not None:
        yield host.judge_certificate(
            mqtt_points.SAY,
            "certificate of the MQTT broker",
            read_der(check.server_certificate),
            host.now_unix(),
        )
    if wishes.is_fill and identity is not None:
        yield mqtt_points.not_filled(identity)
    elif wishes.is_fill and check.can_go_on:
        yield from Fill(check, section, wishes, later).run()
    else:
        yield from without_fill(later)


def _look_at_kafka(
    config: BridgeConfig, later: Later, properties: Mapping[str, Any]
) -> Iterator[Point]:
    payloads: dict[str, int] = {}
    for route in config.route:
        so_far = payloads.get(route.kafka_topic, 0)
        payloads[route.kafka_topic] = max(so_far, route.payload_bytes_max)
    need = kafka_points.Need(
        payload_bytes_max=payloads,
        session_expiry_s=config.mqtt.session_expiry_s,
        side_topics=frozenset(later.side_topics),
        batch_bytes=kafka_points.batch_bytes_of(properties),
    )
    topics = [*payloads, config.dead_letter.kafka_topic, *later.side_topics]
    try:
        facts = kafka_facts.gather(properties, list(dict.fromkeys(topics)))
    except KafkaRefusedError as error:
        yield kafka_points.SAY.refused(
            "cluster",
            f"{config.kafka.bootstrap_servers}: {error}",
            "start it, or mend kafka.bootstrap_servers, username, password or properties",
        )
        return
    yield from kafka_points.judge_cluster(facts, need)
