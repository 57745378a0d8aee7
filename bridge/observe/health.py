"""Alive and ready: two questions, answered from what the runtime knows, by rule alone.

Ready asks whether messages flow. Alive asks whether a restart would help: waiting for a peer is
healthy however long it lasts; work that lies about while its peer is willing is not.
"""

import enum
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from bridge.observe.spool_facts import SpoolFacts
from bridge.observe.text import printable

STUCK_AFTER_S = 120.0
"""Work without progress and without a cause. Above librdkafka's `socket.timeout.ms` of 60 s and the
watchdog that rebuilds a stuck producer: a restart by the supervisor is the last resort."""

Answer: TypeAlias = tuple[bool, dict[str, Any]]


class MqttState(enum.StrEnum):
    """Where the MQTT side stands; all but `subscribed` is not ready."""

    SUBSCRIBED = "subscribed"
    MQTT_AWAY = "mqtt_away"
    SUBSCRIBING = "subscribing"
    """Connected; the SUBACK has not come, or waits in a socket that is not read for now."""
    MQTT_REFUSES = "mqtt_refuses"
    """Connection or subscription refused, or granted without QoS 1."""


class KafkaState(enum.StrEnum):
    """Where the Kafka side stands; all but `answers` is not ready."""

    ANSWERS = "answers"
    KAFKA_AWAY = "kafka_away"
    KAFKA_REFUSES = "kafka_refuses"
    """It answers and does not take: a topic is held (unknown, not authorized, forbidden by policy),
    or something owed was not confirmed in time (stuck, silent, a partition without a leader)."""


class WaitsFor(enum.StrEnum):
    """The named states in which a step may wait for ever and still be healthy."""

    KAFKA_AWAY = "kafka_away"
    KAFKA_REFUSES = "kafka_refuses"
    SPOOL_FULL = "spool_full"
    SPOOL_FAILED = "spool_failed"
    """The disk does not take what is owed; it is asked again and again."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step on the way that may get stuck."""

    name: str
    """`produce` (something is to be confirmed by Kafka) or `spool` (by the disk)."""
    without_progress_s: float
    """How long work has lain here since the step last did something; 0 without work."""
    waits_for: WaitsFor | None = None
    """The peer that is not willing, if one is not."""


class HealthInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime knows at the moment of asking."""

    mqtt: MqttState
    kafka: KafkaState
    mqtt_detail: str = ""
    kafka_detail: str = ""
    spool: SpoolFacts = SpoolFacts()
    outage_budget_s: float | None = None
    """How long Kafka may stay away before something is lost; None: nobody knows."""
    steps: Sequence[Step] = ()
    is_stopping: bool = False
    stuck_after_s: float = STUCK_AFTER_S


def ready(inputs: HealthInputs) -> Answer:
    """Tell whether messages flow: subscribed, Kafka answers, the spool takes, and no stop."""
    checks = {
        "mqtt": _check(
            is_ok=inputs.mqtt is MqttState.SUBSCRIBED,
            state=inputs.mqtt,
            detail=inputs.mqtt_detail,
        ),
        "kafka": _check(
            is_ok=inputs.kafka is KafkaState.ANSWERS,
            state=inputs.kafka,
            detail=inputs.kafka_detail,
        ),
        # Rows that wait or drain are safe, and acknowledged: a spool that holds some is ready.
        "spool": _check(
            is_ok=inputs.spool.is_well,
            state=inputs.spool.state,
            detail=inputs.spool.detail,
        ),
    }
    if inputs.is_stopping:
        checks["process"] = _check(is_ok=False, state="stopping", detail="the bridge is stopping")
    is_ready = all(check["ok"] for check in checks.values())
    body: dict[str, Any] = {"ready": is_ready, "checks": checks}
    if inputs.kafka is not KafkaState.ANSWERS and inputs.outage_budget_s is not None:
        # JSON has no infinity: without inflow it is null.
        body["outage_budget_s"] = round(inputs.outage_budget_s, 1)
    return is_ready, body


def missing_parts(body: dict[str, Any]) -> list[str]:
    """Name the parts of an answer that are not ok; for the event `bridge_not_ready`."""
    return [name for name, check in body["checks"].items() if not check["ok"]]


def live(inputs: HealthInputs) -> Answer:
    """Tell whether every step with work and a willing peer makes progress."""
    checks = {step.name: _check_step(step, inputs.stuck_after_s) for step in inputs.steps}
    is_live = all(check["ok"] for check in checks.values())
    return is_live, {"live": is_live, "checks": checks}


def _check_step(step: Step, stuck_after_s: float) -> dict[str, Any]:
    if step.without_progress_s <= 0:
        return _check(is_ok=True, state="idle")
    if step.waits_for is not None:
        detail = f"waiting for {step.without_progress_s:.0f} s"
        return _check(is_ok=True, state=step.waits_for, detail=detail)
    if step.without_progress_s <= stuck_after_s:
        return _check(is_ok=True, state="working")
    detail = f"work and a willing peer, but no progress for {step.without_progress_s:.0f} s"
    return _check(is_ok=False, state="stuck", detail=detail)


def _check(*, is_ok: bool, state: str, detail: str = "") -> dict[str, Any]:
    return {"ok": is_ok, "state": str(state), "detail": printable(detail)}
