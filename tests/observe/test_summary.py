"""The one line of `systemctl status`."""

import pytest

from bridge.observe.counters import Counters, Outcome
from bridge.observe.health import HealthInputs, KafkaState, MqttState
from bridge.observe.spool_facts import SpoolFacts
from bridge.observe.status import Flow
from bridge.observe.summary import summarise

WELL = HealthInputs(mqtt=MqttState.SUBSCRIBED, kafka=KafkaState.ANSWERS)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        pytest.param(
            WELL,
            "200 msg/s in, 180 msg/s settled, lag 0.2 s, 20 in flight, 3 in the spool",
            id="flows",
        ),
        pytest.param(
            HealthInputs(
                mqtt=MqttState.MQTT_AWAY,
                kafka=KafkaState.KAFKA_AWAY,
                kafka_detail="no answer",
            ),
            "waiting for the MQTT broker (mqtt_away) and Kafka (kafka_away: no answer);"
            " 20 in flight, 3 in the spool",
            id="both away",
        ),
        pytest.param(
            HealthInputs(
                mqtt=MqttState.SUBSCRIBED,
                kafka=KafkaState.ANSWERS,
                spool=SpoolFacts(rows=3, live_bytes=9, bytes_max=9, obstacle="spool_full"),
            ),
            "waiting for the spool (spool_full: 3 rows, 9 of 9 bytes);"
            " 20 in flight, 3 in the spool",
            id="spool full",
        ),
        pytest.param(
            HealthInputs(
                mqtt=MqttState.MQTT_REFUSES,
                kafka=KafkaState.ANSWERS,
                mqtt_detail="not_authorized\nMAINPID=1",
            ),
            "waiting for the MQTT broker (mqtt_refuses: not_authorized\\nMAINPID=1);"
            " 20 in flight, 3 in the spool",
            id="hostile reason",
        ),
        pytest.param(
            HealthInputs(mqtt=MqttState.SUBSCRIBED, kafka=KafkaState.ANSWERS, is_stopping=True),
            "stopping; 20 in flight, 3 in the spool",
            id="stops",
        ),
    ],
)
def test_the_summary_says_what_is_waited_for_or_how_fast_it_goes(
    inputs: HealthInputs, expected: str
) -> None:
    flow, counters = Flow(), Counters()
    flow.note(counters, 0.0)
    counters.received += 200
    counters.settled[Outcome.PRODUCED] += 180
    flow.note(counters, 1.0)

    assert expected == summarise(inputs, flow=flow, in_flight=20, spooled=3, lag_s=0.21)
