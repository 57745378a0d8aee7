"""What the bridge asks for and says of itself, and how it tells a dead broker from a slow one."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import mqtt5

from tests.hostile.bench import SERVER_KEEP_ALIVE_1_S, Bench, good, in_flight
from tests.support.eventually import NeverHappenedError
from tests.support.hostile_broker import HostileBroker, connack, suback
from tests.support.in_process_kafka import InProcessKafka

MakeKafka = Callable[[int], InProcessKafka]


async def test_connect_and_subscribe_ask_for_what_the_promise_rests_on_after_every_connack(
    bench: Bench,
) -> None:
    broker = await bench.broker()
    bench.bridge(
        broker,
        client_id="the-one",
        session_expiry_s=3_600,
        receive_maximum=77,
        keep_alive_s=45,
    )

    for is_session_present in (False, True, True):
        connection = await broker.accept(connack(session_present=is_session_present))
        connect, subscribe, online = connection.packets[:3]
        connection.cut()

        assert isinstance(connect, mqtt5.ConnectPacket)
        assert ("the-one", False) == (connect.client_id, connect.clean_start)
        assert (3_600, 77) == (connect.session_expiry_interval, connect.receive_max)
        # A broker drops what is larger than a Maximum Packet Size, and calls it delivered.
        assert (45, None) == (connect.keep_alive, connect.max_packet_size)
        assert 0 == connect.topic_alias_max
        will = connect.will
        assert will is not None
        assert ("bridge/the-one/status", b"offline") == (will.topic, will.payload)
        assert (True, mqtt5.QoS.AT_LEAST_ONCE) == (will.retain, will.qos)
        assert isinstance(subscribe, mqtt5.SubscribePacket)
        (asked,) = subscribe.topic_filters
        assert ("devices/+/telemetry", mqtt5.QoS.AT_LEAST_ONCE) == (asked.pattern, asked.max_qos)
        assert mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS == asked.retain_handling
        assert isinstance(online, mqtt5.PublishPacket)
        assert ("bridge/the-one/status", b"online") == (online.topic, online.payload)
        assert online.retain


async def test_publishes_of_a_resumed_session_are_taken_before_the_suback(bench: Bench) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    connection = await broker.next_connection()
    await connection.greet(connack(session_present=True) + good(1) + good(2))

    # `accept` was not called: the SUBACK is still owed.
    assert [1, 2] == await connection.wait_acknowledged(2)
    assert [] == bridge.events("mqtt_subscribed")
    subscribe = await connection.wait_for(mqtt5.SubscribePacket)
    connection.say(suback(subscribe.packet_id) + good(3))

    assert [1, 2, 3] == await connection.wait_acknowledged(3)
    await bridge.ready()


async def test_an_idle_connection_is_pinged_within_the_keep_alive_that_the_broker_imposed(
    bench: Bench,
) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker, keep_alive_s=600)
    connection = await broker.accept(connack(properties=SERVER_KEEP_ALIVE_1_S))
    await connection.wait_for(mqtt5.PingReqPacket, count=2)

    assert 1 == (await bridge.event("mqtt_connected"))["keep_alive_s"]
    assert not connection.is_ended
    assert 1 == len(broker.connections)


async def test_a_broker_that_falls_silent_is_found_dead_and_the_session_is_made_anew(
    bench: Bench,
) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    first = await broker.next_connection()
    first.answers_pings = False
    await first.accept(connack(properties=SERVER_KEEP_ALIVE_1_S))
    await first.wait_ended()
    second = await broker.accept(connack(session_present=True))
    second.say(good(1))

    assert [1] == await second.wait_acknowledged(1)
    await bridge.event("mqtt_keep_alive_timed_out")
    assert mqtt5.PingReqPacket is type(first.packets[-1])


async def test_ten_times_the_receive_maximum_pauses_reading_and_never_disconnects(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    messages = 1_000
    kafka = make_kafka(2)
    kafka.create_topic(bench.telemetry_topic, [1])
    broker = await bench.broker()
    bridge = bench.bridge(broker, kafka=kafka, receive_maximum=100, unsettled_max=500)
    connection = await broker.accept(connack(properties=SERVER_KEEP_ALIVE_1_S))
    await bridge.ready()
    kafka.take_down(1)

    # In one go, so that no read ends exactly at the bound; then what stays in the socket.
    connection.say(b"".join(good(each) for each in range(1, 501)))
    paused = await bridge.event("reading_paused")
    await connection.say_all(good(each) for each in range(501, messages + 1))
    pings = len(connection.all_of(mqtt5.PingReqPacket))
    await connection.wait_for(mqtt5.PingReqPacket, count=pings + 2)
    assert [] == connection.acknowledged
    kafka.bring_up(1)

    assert list(range(1, messages + 1)) == await connection.wait_acknowledged(messages)
    assert "unsettled_max" == paused["cause"]
    await bridge.event("reading_resumed")
    assert [] == connection.all_of(mqtt5.DisconnectPacket)
    assert 1 == len(broker.connections)


async def test_a_connection_made_while_the_bounds_are_reached_stays_though_nothing_is_read(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    kafka = make_kafka(2)
    kafka.create_topic(bench.telemetry_topic, [1])
    broker = await bench.broker()
    bridge = bench.bridge(broker, kafka=kafka, unsettled_max=10)
    # While reading is paused only a PINGREQ can find out that the connection is cut.
    first = await broker.accept(connack(properties=SERVER_KEEP_ALIVE_1_S))
    await bridge.ready()
    kafka.take_down(1)
    first.say(b"".join(good(each) for each in range(1, 11)))
    await in_flight(bridge, 10)
    await bridge.event("reading_paused")

    first.cut()
    second = await broker.next_connection()
    await second.greet(connack(session_present=True, properties=SERVER_KEEP_ALIVE_1_S))
    subscribe = await second.wait_for(mqtt5.SubscribePacket)
    second.say(suback(subscribe.packet_id) + good(1))
    await second.wait_for(mqtt5.PingReqPacket, count=2)
    assert 1 == len(bridge.events("mqtt_subscribed"))
    kafka.bring_up(1)

    assert [1] == await second.wait_acknowledged(1)
    await bridge.event("mqtt_subscribed", count=2)
    assert 2 == len(broker.connections)


async def test_a_stop_while_no_connection_is_there_makes_none_and_never_says_online_again(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    kafka = make_kafka(2)
    kafka.create_topic(bench.telemetry_topic, [1])
    broker = await bench.broker()
    bridge = bench.bridge(
        broker, kafka=kafka, shutdown={"drain_timeout_s": 8}, spool={"bytes_max": 0}
    )
    connection = await broker.accept()
    await bridge.ready()
    kafka.take_down(1)
    connection.say(good(1))
    await in_flight(bridge, 1)

    connection.cut()
    await bridge.event("mqtt_disconnected")
    serving = asyncio.create_task(_accept_whatever_comes(broker))
    exit_code = await bridge.stopped()
    serving.cancel()

    assert 0 == exit_code
    assert 1 == (await bridge.event("bridge_stopped"))["unsettled"]
    # One connection may have been faster than the signal; it then took part in the stop.
    for each in broker.connections[1:]:
        assert each.statuses in ([], [b"online", b"offline"])


async def _accept_whatever_comes(broker: HostileBroker) -> None:
    while True:
        with suppress(NeverHappenedError):
            await broker.accept(connack(session_present=True))
