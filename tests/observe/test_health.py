import math

import msgspec
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
from bridge.observe.spool_facts import SpoolFacts


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
            "spool": {"ok": True, "state": "off", "detail": ""},
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


@pytest.mark.parametrize(
    ("spool", "state", "is_ok"),
    [
        pytest.param(SpoolFacts(), "off", True, id="no spool"),
        pytest.param(SpoolFacts(bytes_max=9), "empty", True, id="nothing in it"),
        pytest.param(SpoolFacts(rows=2, live_bytes=5, bytes_max=9), "holds", True, id="drains"),
        pytest.param(
            SpoolFacts(rows=2, live_bytes=9, bytes_max=9, obstacle="spool_full"),
            "spool_full",
            False,
            id="full",
        ),
        pytest.param(
            SpoolFacts(bytes_max=9, obstacle="spool_failed", error="disk I/O error"),
            "spool_failed",
            False,
            id="disk fails",
        ),
        pytest.param(SpoolFacts(rows=2, obstacle="spool_full"), "off", True, id="turned off"),
    ],
)
def test_a_spool_that_takes_what_is_owed_is_ready_whatever_it_holds(
    spool: SpoolFacts,
    state: str,
    is_ok: bool,  # noqa: FBT001
) -> None:
    is_ready, body = ready(
        HealthInputs(mqtt=MqttState.SUBSCRIBED, kafka=KafkaState.ANSWERS, spool=spool)
    )

    assert is_ready is is_ok
    assert body["checks"]["spool"]["state"] == state
    assert missing_parts(body) == ([] if is_ok else ["spool"])


def test_the_detail_of_the_spool_counts_and_says_why_it_fails() -> None:
    spool = SpoolFacts(rows=2, live_bytes=5, bytes_max=9, error="disk \x1b full")
    inputs = HealthInputs(mqtt=MqttState.SUBSCRIBED, kafka=KafkaState.ANSWERS, spool=spool)

    _, body = ready(inputs)

    assert body["checks"]["spool"]["detail"] == r"2 rows, 5 of 9 bytes; disk \x1b full"


@pytest.mark.parametrize(
    ("kafka", "budget_s", "expected"),
    [
        pytest.param(KafkaState.KAFKA_AWAY, 3_480.04, b"3480.0", id="away"),
        pytest.param(KafkaState.KAFKA_REFUSES, math.inf, b"null", id="no inflow"),
        pytest.param(KafkaState.KAFKA_AWAY, None, None, id="unknown"),
        pytest.param(KafkaState.ANSWERS, 3_480.0, None, id="there"),
    ],
)
def test_while_kafka_is_away_readiness_says_how_long_that_may_last(
    kafka: KafkaState, budget_s: float | None, expected: bytes | None
) -> None:
    inputs = HealthInputs(mqtt=MqttState.SUBSCRIBED, kafka=kafka, outage_budget_s=budget_s)

    _, body = ready(inputs)

    written = msgspec.json.encode(body["outage_budget_s"]) if "outage_budget_s" in body else None
    assert written == expected


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
