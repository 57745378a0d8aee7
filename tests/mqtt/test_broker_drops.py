"""The broker's own count of dropped messages: asked for on the side, never in the way."""

import mqtt5
import pytest

from bridge.mqtt.broker_drops import MQTT_TOPIC, DropCount, DropNews, parse
from bridge.mqtt.errands import UNANSWERED_MAX
from bridge.mqtt.events import BrokerDropsReported, BrokerDropsUnreadable, SubscribedAll
from bridge.mqtt.session import Phase, Session
from tests.mqtt.given import FILTER, connected, packets_in, publish, received, settings, suback


def subscribing(session: Session) -> list[mqtt5.SubscribePacket]:
    packets = packets_in(session.data_to_send())
    return [each for each in packets if isinstance(each, mqtt5.SubscribePacket)]


def answer(code: int) -> bytes:
    return mqtt5.SubAckPacket(3, [mqtt5.SubAckReasonCode(code)]).write()


def dropped(payload: bytes) -> bytes:
    return mqtt5.PublishPacket(MQTT_TOPIC, payload, retain=True).write()


def test_it_is_asked_for_at_qos_0_once_the_filters_are_granted_and_readiness_waits_not() -> None:
    session = Session(settings())
    connected(session)
    session.data_to_send()

    events = session.receive_data(suback(1), now=0.0)

    (subscribe,) = subscribing(session)
    (asked,) = subscribe.topic_filters
    assert (MQTT_TOPIC, mqtt5.QoS.AT_MOST_ONCE) == (asked.pattern, asked.max_qos)
    assert mqtt5.RetainHandling.SEND_ALWAYS == asked.retain_handling
    assert [SubscribedAll((FILTER,))] == events
    assert Phase.SUBSCRIBED is session.phase


def test_a_refusal_is_told_and_changes_nothing_else() -> None:
    session = Session(settings())
    connected(session)
    session.receive_data(suback(1), now=0.0)

    assert [BrokerDropsUnreadable("not_authorized")] == session.receive_data(answer(135), now=1.0)
    assert Phase.SUBSCRIBED is session.phase


def test_its_value_is_no_message_received() -> None:
    session = Session(settings())
    connected(session)
    session.receive_data(suback(1) + answer(0), now=0.0)

    events = session.receive_data(publish(4) + dropped(b"17") + publish(None), now=1.0)

    assert BrokerDropsReported(17) in events
    assert [4, None] == [each.packet_id for each in received(events).packets]
    assert [BrokerDropsReported(18)] == session.receive_data(dropped(b"18"), now=2.0)


@pytest.mark.parametrize("payload", [b"", b"-1", b"many", b"9" * 21, "¹".encode()])
def test_a_value_that_is_no_number_is_passed_over(payload: bytes) -> None:
    session = Session(settings())
    connected(session)
    session.receive_data(suback(1) + answer(0), now=0.0)

    assert [] == session.receive_data(dropped(payload), now=1.0)
    assert parse(payload) is None


def test_a_broker_that_cuts_the_connection_over_it_is_not_asked_for_ever() -> None:
    session = Session(settings())
    asked = []

    for now in range(UNANSWERED_MAX + 2):
        connected(session, now=float(now))
        session.data_to_send()
        session.receive_data(suback(1), now=float(now))
        asked.append(len(subscribing(session)))
        session.closed()

    assert [1] * UNANSWERED_MAX + [0, 0] == asked


def test_an_answer_before_it_was_asked_for_breaks_the_protocol() -> None:
    session = Session(settings())
    connected(session)

    (event,) = session.receive_data(answer(0), now=0.0)

    assert "SubAck" in getattr(event, "detail", "")


@pytest.mark.parametrize(
    ("known", "reported", "news"),
    [
        (None, 5, DropNews(0, is_reset=False)),
        (5, 5, DropNews(0, is_reset=False)),
        (5, 12, DropNews(7, is_reset=False)),
        (5, 0, DropNews(0, is_reset=True)),
        (5, 3, DropNews(3, is_reset=True)),
    ],
    ids=["first", "same", "grown", "restarted", "restarted and dropped"],
)
def test_only_growth_is_news_and_a_smaller_count_is_a_restart(
    known: int | None, reported: int, news: DropNews
) -> None:
    assert news == DropCount(known).note(reported)
