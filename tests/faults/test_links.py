"""The links of the bridge are cut, half open, narrow or slow to close; brokers lose sessions."""

from collections.abc import Callable

import pytest

from tests.faults.stage import Links, Stage, await_metric, await_spooled, live_status
from tests.integration.scene import QUIET_DEADLINE_S, await_in_flight, await_received, report
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import fleet
from tests.support.eventually import eventually, let_last
from tests.support.kafka_cluster import KafkaProcess

Length = Callable[[float, float], float]

DEVICES = 100
GROWN_UP_S = 10.5
"""A third connection in turn that is cut before it is 10 s old makes the bridge suspect another
client with its client id, and wait for long."""


def test_an_mqtt_link_cut_again_and_again_under_load_doubles_nothing(
    stage: Stage, links: Links, length: Length
) -> None:
    cuts = int(length(2, 60))
    # Linger keeps messages unsettled, so that each cut brings redeliveries.
    bridge = stage.start(kafka={"properties": {"linger.ms": 200}})
    devices = stage.lean()
    devices.start(fleet(DEVICES), rate_per_s=2_000.0)

    for number in range(cuts):
        let_last(length(1.0, GROWN_UP_S))
        await_metric(bridge, "bridge_messages_in_flight", lambda count: count >= 100)
        links.mqtt.cut()
        bridge.wait_for_event("session_resumed", count=number + 1)
    devices.stop()
    reckoning = stage.prove(bridge)

    again = bridge.metric("bridge_messages_settled_total", outcome="duplicate")
    report(f"{cuts} cuts, {again:.0f} messages came again; {reckoning}")
    assert cuts == len(bridge.events("session_resumed"))


def test_an_mqtt_link_cut_while_the_spool_takes_over_doubles_nothing(
    stage: Stage, links: Links, victim: KafkaProcess
) -> None:
    bridge = stage.start()
    devices = stage.lean(window=500)
    devices.start(fleet(DEVICES), rate_per_s=1_500.0)
    await_received(bridge, 1_000)

    victim.freeze()
    await_in_flight(bridge, 500)
    links.mqtt.cut()
    bridge.wait_for_event("session_resumed")
    await_spooled(bridge, 1)
    links.mqtt.cut()
    bridge.wait_for_event("session_resumed", count=2)
    await_spooled(bridge, 2_000)
    victim.thaw()
    devices.stop()
    reckoning = stage.prove(bridge)

    report(reckoning)


@pytest.mark.slow
def test_a_half_open_mqtt_link_is_found_dead_by_keep_alive_and_replaced(
    stage: Stage, links: Links
) -> None:
    bridge = stage.start(mqtt={"keep_alive_s": 2})
    devices = stage.devices(window=500)
    devices.publish(fleet(DEVICES, 500))

    links.mqtt.swallow()
    devices.publish(fleet(DEVICES, 1_000, first=500))
    bridge.wait_for_event("mqtt_keep_alive_timed_out")
    bridge.wait_not_ready()
    assert 200 == live_status(bridge)
    links.mqtt.heal()
    bridge.wait_for_event("session_resumed", deadline_s=60.0)
    bridge.wait_ready(60.0)
    reckoning = stage.prove(bridge)

    report(reckoning)
    assert 0 == bridge.metric("bridge_gaps_total")


@pytest.mark.slow
def test_a_half_open_kafka_link_sends_everything_to_the_spool_and_doubles_nothing(
    stage: Stage, links: Links, length: Length
) -> None:
    bridge = stage.start()
    devices = stage.lean()
    devices.start(fleet(DEVICES), rate_per_s=1_000.0)
    await_received(bridge, 1_000)

    links.kafka.swallow()
    await_spooled(bridge, 2_000)
    bridge.wait_not_ready(QUIET_DEADLINE_S)
    assert 200 == live_status(bridge)
    let_last(length(2.0, 60.0))
    links.kafka.heal()
    bridge.wait_ready(QUIET_DEADLINE_S)
    devices.stop()
    reckoning = stage.prove(bridge)

    report(reckoning)


@pytest.mark.slow
def test_reports_withheld_while_kafka_answers_lead_to_a_new_producer_and_double_nothing(
    stage: Stage, links: Links
) -> None:
    # In few requests: behind five without an answer nothing else leaves on their connection, and
    # then Kafka is away for all that the bridge can see.
    bridge = stage.start(kafka={"properties": {"linger.ms": 200}})
    devices = stage.devices(window=2_000)
    devices.publish(fleet(DEVICES, 500))
    stage.await_nothing_in_flight(bridge)

    links.kafka.withholds_delivery_reports = True
    devices.publish(fleet(DEVICES, 2_000, first=500))
    await_spooled(bridge, 2_000)
    written = stage.client.count(stage.telemetry)
    rebuilt = bridge.wait_for_event("kafka_producer_rebuilt", deadline_s=150.0)
    links.kafka.withholds_delivery_reports = False
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = stage.prove(bridge)

    report(f"{written - 500} of 2000 were in Kafka unreported, {rebuilt}; {reckoning}")
    assert written > 500, "no record was in Kafka unreported: the test proves nothing"
    assert links.kafka.withheld > 0


def test_slow_and_narrow_links_with_cuts_of_both_lose_and_double_nothing(
    stage: Stage, links: Links
) -> None:
    bridge = stage.start()
    for levers in (links.mqtt.levers, links.kafka.levers):
        levers.delay_s = 0.05
        levers.bytes_per_s = 500_000.0
    devices = stage.lean()
    devices.start(fleet(DEVICES), rate_per_s=800.0)

    for number in range(1, 5):
        await_received(bridge, number * 800)
        (links.mqtt if number % 2 else links.kafka).cut()
    links.mqtt.heal()
    links.kafka.heal()
    devices.stop()
    reckoning = stage.prove(bridge)

    report(reckoning)


def test_a_broker_that_learns_late_of_a_dead_bridge_hands_the_session_to_the_next(
    stage: Stage, links: Links
) -> None:
    bridge = stage.start()
    devices = stage.lean()
    devices.start(fleet(DEVICES), rate_per_s=1_000.0)
    await_received(bridge, 1_000)

    links.mqtt.levers.linger_s = 4.0
    bridge.kill()
    bridge.start()
    bridge.wait_ready(60.0)
    await_received(bridge, 6_000)  # The old connection has ended meanwhile.
    devices.stop()
    reckoning = stage.prove(bridge)

    report(reckoning)
    assert [] == bridge.events("session_taken_over")


def test_kafka_refusing_connections_for_a_while_is_an_outage_like_any_other(
    stage: Stage, links: Links
) -> None:
    bridge = stage.start()
    devices = stage.lean()
    devices.start(fleet(DEVICES), rate_per_s=1_000.0)
    await_received(bridge, 1_000)

    links.kafka.refuse()
    links.kafka.cut()
    await_spooled(bridge, 2_000)
    links.kafka.heal()
    bridge.wait_ready(QUIET_DEADLINE_S)
    devices.stop()
    reckoning = stage.prove(bridge)

    report(reckoning)


# ---------------------------------------------------------------- the MQTT broker


def test_a_session_lost_at_the_broker_is_a_gap_and_what_was_spooled_still_arrives(
    stage: Stage, victim: KafkaProcess, unique_name: Callable[[str], str]
) -> None:
    # This Mosquitto writes its snapshot at a graceful stop alone: SIGKILL loses the session.
    bridge = stage.start(gaps={"kafka_topic": unique_name("gaps")})
    devices = stage.devices(window=500)
    devices.publish(fleet(DEVICES, 500))
    victim.freeze()
    devices.publish(fleet(DEVICES, 1_500, first=500))
    await_spooled(bridge, 1_500)
    await_metric(bridge, "bridge_messages_in_flight", lambda count: count == 0)

    stage.mosquitto.kill()
    stage.mosquitto.start()
    lost = bridge.wait_for_event("session_lost", deadline_s=60.0)
    bridge.wait_for_event("mqtt_subscribed", count=2)
    devices.publish(fleet(DEVICES, 500, first=2_000))
    victim.thaw()
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = stage.prove(bridge)

    report(f"{lost}; {reckoning}")
    assert 1 == bridge.metric("bridge_gaps_total")


@pytest.mark.long
def test_two_bridges_with_one_client_id_lose_nothing_and_one_keeps_away(
    stage: Stage, victim: KafkaProcess
) -> None:
    first = stage.start()
    second = stage.spawn()
    bridges = [first, second]
    devices = stage.devices()

    def said() -> list[BridgeProcess]:
        return [each for each in bridges if each.events("session_taken_over")]

    eventually(said, what="one of them names the takeover", deadline_s=60.0)
    devices.publish(fleet(DEVICES, 1_000))
    stage.client.consume_all(stage.telemetry, until=1_000)
    victim.freeze()
    devices.publish(fleet(DEVICES, 1_000, first=1_000))
    victim.thaw()
    stage.client.consume_all(stage.telemetry, until=2_000)
    second.stop()
    first.wait_ready(QUIET_DEADLINE_S)
    stage.await_quiet(first)
    reckoning = stage.reckon()

    report(f"{len(said())} said so; {reckoning}")
    reckoning.assert_nothing_lost()


@pytest.mark.slow
def test_a_frozen_mqtt_broker_is_found_dead_and_served_again_once_it_lives(
    stage: Stage, length: Length
) -> None:
    bridge = stage.start(mqtt={"keep_alive_s": 2})
    devices = stage.lean()
    devices.start(fleet(DEVICES), rate_per_s=1_000.0)
    await_received(bridge, 1_000)

    stage.mosquitto.freeze()
    bridge.wait_for_event("mqtt_keep_alive_timed_out", deadline_s=60.0)
    bridge.wait_not_ready()
    let_last(length(2.0, 60.0))
    assert 200 == live_status(bridge)
    stage.mosquitto.thaw()
    bridge.wait_ready(60.0)
    devices.stop()
    reckoning = stage.prove(bridge)

    report(reckoning)
    assert [] == bridge.events("session_lost")


def test_a_stop_over_a_slow_link_waits_for_what_is_on_the_wire(stage: Stage, links: Links) -> None:
    bridge = stage.start()
    links.kafka.refuse()
    links.kafka.cut()
    stage.devices(window=500).publish(fleet(DEVICES, 4_000))
    await_spooled(bridge, 4_000)
    before = links.kafka.bytes_to_server
    links.kafka.heal()
    links.kafka.levers.bytes_per_s = 150_000.0
    eventually(
        lambda: links.kafka.bytes_to_server,
        lambda sent: sent > before + 200_000,
        what="rows are on the wire",
        poll_s=0.02,
    )

    code = bridge.stop()
    bridge.start()
    reckoning = stage.prove(bridge)

    missing = bridge.events("kafka_answers_missing")
    report(f"{missing}; {reckoning}")
    assert 0 == code
    assert [] == missing
