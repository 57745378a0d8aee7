import pytest

from bridge.observe.health import (
    HealthInputs,
    KafkaState,
    MqttState,
    Step,
    WaitsFor,
    live,
    missing_parts,
    ready,
)


def inputs_with(*steps: Step, mqtt: MqttState = MqttState.SUBSCRIBED) -> HealthInputs:
    return HealthInputs(mqtt=mqtt, kafka=KafkaState.ANSWERS, steps=steps, stuck_after_s=120.0)


def test_subscribed_and_answered_is_ready() -> None:
    is_ready, body = ready(inputs_with())

    assert is_ready
    assert body == {
        "ready": True,
        "checks": {
            "mqtt": {"ok": True, "state": "subscribed", "detail": ""},
            "kafka": {"ok": True, "state": "answers", "detail": ""},
        },
    }


@pytest.mark.parametrize(
    ("mqtt", "kafka", "is_stopping", "expected"),
    [
        (MqttState.MQTT_AWAY, KafkaState.ANSWERS, False, ["mqtt"]),
        (MqttState.MQTT_REFUSES, KafkaState.ANSWERS, False, ["mqtt"]),
        (MqttState.SUBSCRIBED, KafkaState.KAFKA_AWAY, False, ["kafka"]),
        (MqttState.SUBSCRIBED, KafkaState.KAFKA_REFUSES, False, ["kafka"]),
        (MqttState.MQTT_AWAY, KafkaState.KAFKA_AWAY, False, ["mqtt", "kafka"]),
        (MqttState.SUBSCRIBED, KafkaState.ANSWERS, True, ["process"]),
    ],
)
def test_what_is_missing_is_named(
    mqtt: MqttState,
    kafka: KafkaState,
    is_stopping: bool,  # noqa: FBT001
    expected: list[str],
) -> None:
    is_ready, body = ready(HealthInputs(mqtt=mqtt, kafka=kafka, is_stopping=is_stopping))

    assert not is_ready
    assert body["ready"] is False
    assert missing_parts(body) == expected


def test_details_from_outside_are_escaped() -> None:
    _, body = ready(
        HealthInputs(
            mqtt=MqttState.MQTT_REFUSES,
            kafka=KafkaState.ANSWERS,
            mqtt_detail="go \x1b[2J\udc80 away",
        )
    )

    assert body["checks"]["mqtt"]["detail"] == r"go \x1b[2J\udc80 away"


@pytest.mark.parametrize(
    ("step", "expected_state"),
    [
        pytest.param(Step(name="produce", without_progress_s=0.0), "idle", id="no work"),
        pytest.param(Step(name="produce", without_progress_s=119.9), "working", id="slow"),
        *(
            pytest.param(
                Step(name="produce", without_progress_s=1e9, waits_for=peer), peer, id=str(peer)
            )
            for peer in WaitsFor
        ),
    ],
)
def test_waiting_for_a_peer_is_healthy_however_long(step: Step, expected_state: str) -> None:
    is_live, body = live(inputs_with(step))

    assert is_live
    assert body["checks"]["produce"]["state"] == expected_state


def test_work_without_progress_while_the_peer_is_willing_is_not_alive() -> None:
    stuck = Step(name="produce", without_progress_s=121.0)
    working = Step(name="acknowledge", without_progress_s=1.0)

    is_live, body = live(inputs_with(stuck, working))

    assert not is_live
    assert body["live"] is False
    assert body["checks"]["produce"] == {
        "ok": False,
        "state": "stuck",
        "detail": "work and a willing peer, but no progress for 121 s",
    }
    assert body["checks"]["acknowledge"]["ok"]


def test_a_bridge_that_is_not_ready_is_alive() -> None:
    assert live(inputs_with(mqtt=MqttState.MQTT_AWAY))[0]
