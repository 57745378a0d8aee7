"""What librdkafka doubles by itself is told, and one key excludes it."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.integration.scene import Scene, await_in_flight, report, told_doubled
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import DeviceMessage, Publisher, telemetry
from tests.support.eventually import eventually
from tests.support.kafka_choice import ChosenKafka
from tests.support.oracle import Reckoning
from tests.support.produce_proxy import Place, ProduceProxy

DEVICES = 8
EVENT = "kafka_records_may_be_doubled"
UNDER_LOAD, EVERY_REFUSED = 200, 20
WITHOUT_END = 1_000_000
SPOOL_AFTER_S = 20.0
"""So that nothing goes over the disk meanwhile."""
ANSWERS_LATE_BY_S = 0.05
"""Long enough for requests of one partition to travel together."""


@pytest.fixture
def link(kafka: ChosenKafka) -> Iterator[ProduceProxy]:
    proxy = ProduceProxy(kafka.bootstrap)
    yield proxy.start()  # type: ignore[misc]
    proxy.close()


def await_records(scene: Scene, count: int) -> None:
    scene.client.consume_all(scene.telemetry, until=count)


def await_lost(link: ProduceProxy, place: Place, count: int) -> None:
    eventually(
        lambda: link.lost[place],
        lambda lost: lost >= count,
        what=f"{count} requests or answers of {place} are lost",
    )


def start_with_a_device_in_each_partition(
    scene: Scene, link: ProduceProxy, *, requests_in_flight_max: int = 5
) -> tuple[BridgeProcess, Publisher, dict[int, str]]:
    """Start with two partitions that refuse large records, and find whose device is whose."""
    scene.create_topics(partitions=2, telemetry={"max.message.bytes": "20000"})
    bridge = scene.start(
        kafka={
            "bootstrap_servers": link.bootstrap,
            "requests_in_flight_max": requests_in_flight_max,
        },
        spool={"after_s": SPOOL_AFTER_S},
    )
    devices = scene.devices()
    devices.publish([telemetry(f"device-{number}", 0) for number in range(DEVICES)])
    scene.await_nothing_in_flight(bridge)
    device_of = {each.partition: (each.key or b"").decode() for each in scene.read().telemetry}
    return bridge, devices, device_of


def come_back_as_a_broker_that_is_slow_to_lead(
    scene: Scene, link: ProduceProxy, *, requests_in_flight_max: int
) -> tuple[BridgeProcess, Reckoning]:
    """Break the connection with a record in doubt, and let a gap be found behind it.

    In one partition a record is in Kafka and its answer lost. In the other two requests are lost;
    when they come again, the first is refused, since this broker does not lead yet, and the second
    is not: it is out of sequence, so librdkafka numbers all that it has anew.
    """
    bridge, devices, device_of = start_with_a_device_in_each_partition(
        scene, link, requests_in_flight_max=requests_in_flight_max
    )
    gap, doubt = (scene.telemetry, 0), (scene.telemetry, 1)

    link.answers_lost_of, link.requests_lost_of = doubt, gap
    send_one(devices, device_of[1], 1)
    await_lost(link, doubt, 1)
    for number in (1, 2):
        send_one(devices, device_of[0], number)
        if requests_in_flight_max > 1:
            await_lost(link, gap, number)
    await_in_flight(bridge, 3)
    link.refuse()
    link.cut()
    link.answers_lost_of = link.requests_lost_of = None
    link.refused = Counter({gap: 1, doubt: WITHOUT_END})
    link.heal()
    link.levers.delay_s = ANSWERS_LATE_BY_S
    await_records(scene, DEVICES + 1 + 2)
    assert 0 == link.refused[gap], "nothing was refused: the test proves nothing"
    link.refused.clear()
    reckoning = scene.reckon_when_quiet(bridge)

    reckoning.assert_holds()
    return bridge, reckoning


def send_one(devices: Publisher, device_id: str, number: int) -> None:
    devices.publish([telemetry(device_id, number)])


def test_a_broker_that_comes_back_before_it_leads_makes_librdkafka_double_what_was_in_doubt(
    scene: Scene, link: ProduceProxy
) -> None:
    bridge, reckoning = come_back_as_a_broker_that_is_slow_to_lead(
        scene, link, requests_in_flight_max=5
    )

    told, at_most = bridge.events(EVENT), told_doubled(bridge)
    report(f"doubled: {reckoning.duplicates}; told: {told}")
    assert {"skipped sequence numbers"} == {each["reason"] for each in told}
    assert 1 <= reckoning.duplicates <= at_most
    assert at_most == bridge.metric("bridge_records_maybe_doubled_total")


def test_with_one_request_in_flight_it_doubles_nothing(scene: Scene, link: ProduceProxy) -> None:
    bridge, reckoning = come_back_as_a_broker_that_is_slow_to_lead(
        scene, link, requests_in_flight_max=1
    )

    reckoning.assert_nothing_doubled()
    assert [] == bridge.events(EVENT)


def refused_for_good(device_id: str, number: int) -> DeviceMessage:
    return telemetry(device_id, number, filler="x" * 30_000)


@pytest.mark.parametrize("requests_in_flight_max", [1, 5])
def test_a_refusal_while_something_is_in_doubt_doubles_it_and_is_told(
    scene: Scene, link: ProduceProxy, requests_in_flight_max: int
) -> None:
    bridge, devices, device_of = start_with_a_device_in_each_partition(
        scene, link, requests_in_flight_max=requests_in_flight_max
    )
    doubt = (scene.telemetry, 1)

    devices.publish([refused_for_good(device_of[0], 1)])
    scene.await_nothing_in_flight(bridge)
    told_without_doubt = bridge.events(EVENT)
    link.answers_lost_of = doubt
    send_one(devices, device_of[1], 1)
    await_lost(link, doubt, 1)
    link.refuse()
    link.cut()
    link.answers_lost_of = None
    link.refused = Counter({doubt: WITHOUT_END})
    devices.publish([refused_for_good(device_of[0], 2)])
    link.heal()
    bridge.wait_for_event(EVENT)
    link.refused.clear()
    reckoning = scene.reckon_when_quiet(bridge)

    report(f"doubled: {reckoning.duplicates}; told: {bridge.events(EVENT)}")
    assert [] == told_without_doubt
    reckoning.assert_holds()
    assert 1 == reckoning.duplicates <= told_doubled(bridge)


def test_an_answer_lost_after_a_refusal_while_it_is_awaited_doubles_it_and_is_told(
    scene: Scene, link: ProduceProxy
) -> None:
    bridge, devices, device_of = start_with_a_device_in_each_partition(scene, link)
    doubt = (scene.telemetry, 1)

    link.answers_lost_of = doubt
    send_one(devices, device_of[1], 1)
    await_lost(link, doubt, 1)
    devices.publish([refused_for_good(device_of[0], 1)])
    bridge.wait_for_event("kafka_batch_refused")
    link.answers_lost_of = None
    link.cut()
    reckoning = scene.reckon_when_quiet(bridge)

    report(f"doubled: {reckoning.duplicates}; told: {bridge.events(EVENT)}")
    reckoning.assert_holds()
    assert 1 == reckoning.duplicates <= told_doubled(bridge)


def test_refusals_under_load_are_not_told_as_doubled_where_every_answer_was_heard(
    scene: Scene, link: ProduceProxy
) -> None:
    bridge, devices, device_of = start_with_a_device_in_each_partition(scene, link)
    link.levers.delay_s = ANSWERS_LATE_BY_S

    devices.publish(
        [
            (telemetry if number % EVERY_REFUSED else refused_for_good)(device_id, number)
            for number in range(1, UNDER_LOAD)
            for device_id in device_of.values()
        ]
    )
    reckoning = scene.reckon_when_quiet(bridge)

    reckoning.assert_nothing_lost()
    reckoning.assert_nothing_doubled()
    assert len(reckoning.disordered) <= bridge.metric("bridge_records_reordered_total")
    assert bridge.events("kafka_record_refused"), "nothing was refused: the test proves nothing"
    assert [] == bridge.events(EVENT)
