"""What the runtime knows, in the form in which health, metrics and status ask for it."""

import math
from collections.abc import Callable
from typing import Final

from msgspec import structs

from bridge import __version__
from bridge.config.sections import BridgeConfig
from bridge.fleet.duplicates import Duplicates
from bridge.kafka.outbox import Outbox
from bridge.mqtt.session import Phase, Session
from bridge.observe import health
from bridge.observe.active_devices import ActiveDevices
from bridge.observe.counters import Counters, LatencyHistogram
from bridge.observe.examples import Examples
from bridge.observe.health import HealthInputs, KafkaState, MqttState, Step, WaitsFor
from bridge.observe.metrics import Gauges
from bridge.observe.outage_budget import News, OutageBudget, Seen
from bridge.observe.reload_facts import ReloadFacts
from bridge.observe.shedding_facts import SheddingFacts
from bridge.observe.spool_facts import SpoolState
from bridge.observe.status import Flow, StatusInputs
from bridge.observe.summary import summarise
from bridge.pipeline.shadow import Shadow
from bridge.runtime import clock
from bridge.runtime.fleet_view import FleetView
from bridge.runtime.kafka_watch import FRESH_S, KafkaWatch
from bridge.runtime.narrator import Narrator
from bridge.runtime.spool_narrator import SpoolNarrator
from bridge.runtime.spooling import Spooling
from bridge.runtime.traffic import Traffic

HELD_S: Final = 2.0
"""What is owed a PUBACK for longer may keep the MQTT broker from sending more: most brokers stop at
a window of their own that nobody tells."""
UNWILLING_S: Final = 10.0
"""Kafka answers, but has confirmed nothing for so long: too few replicas, or no leader."""
_WAITS: Final = {
    KafkaState.KAFKA_AWAY: WaitsFor.KAFKA_AWAY,
    KafkaState.KAFKA_REFUSES: WaitsFor.KAFKA_REFUSES,
}
_SPOOL_WAITS: Final = {
    SpoolState.SPOOL_FULL: WaitsFor.SPOOL_FULL,
    SpoolState.SPOOL_FAILED: WaitsFor.SPOOL_FAILED,
}


class Vitals:
    """Read the parts when somebody asks; keeps nothing but the outage budget."""

    def __init__(  # noqa: PLR0913  the parts that it reads
        self,
        config: BridgeConfig,
        *,
        session: Session,
        narrator: Narrator,
        outbox: Outbox,
        spooling: Spooling,
        spool: SpoolNarrator,
        traffic: Traffic,
        watch: KafkaWatch,
        duplicates: Duplicates,
        counters: Counters,
        latency: LatencyHistogram,
        examples: Examples | None,
        active: ActiveDevices,
        fleet: FleetView,
        shedding: Callable[[], SheddingFacts],
        shadow: Shadow | None = None,
    ) -> None:
        self.is_stopping = False
        self._started_s = clock.monotonic_s()
        self._flow = Flow()
        self._config = config
        self._session = session
        self._narrator = narrator
        self._outbox = outbox
        self._spooling = spooling
        self._spool = spool
        self._traffic = traffic
        self._watch = watch
        self._duplicates = duplicates
        self._counters = counters
        self._latency = latency
        self._examples = examples
        self._active = active
        self._fleet = fleet
        self._shedding = shedding
        self._shadow = shadow
        self._budget = OutageBudget(
            spool_bytes_max=config.spool.bytes_max,
            broker_queue_messages=config.mqtt.broker_queue_messages,
            broker_queue_bytes=config.mqtt.broker_queue_bytes,
        )

    def follow(self, config: BridgeConfig, shadow: Shadow | None) -> None:
        """Go by what was read anew."""
        self._config = config
        self._shadow = shadow

    # ------------------------------------------------------------------ each second

    def tick(self, now: float) -> News | None:
        """Let the outage budget see what is; return what has to be said of it."""
        self._flow.note(self._counters, now)
        self._flow.latency.note(self._latency.counts, now)
        self._flow.lasting.note(health.ready(self.health())[1]["checks"], now)
        facts = self._spool.facts()
        unsettled = self._outbox.unsettled
        return self._budget.note(
            now,
            Seen(
                received=self._counters.received,
                spool_rows=facts.rows,
                spool_bytes=facts.live_bytes,
                bytes_per_message=unsettled.bytes / unsettled.records if unsettled.records else 0.0,
                is_kafka_well=self._kafka_state(now) is KafkaState.ANSWERS,
                is_reading=(
                    self._session.phase is Phase.SUBSCRIBED
                    and not self._traffic.reading.is_paused
                    and len(self._session.ledger) < self._config.mqtt.receive_maximum
                ),
                is_spool_writable=facts.obstacle != SpoolState.SPOOL_FAILED,
            ),
        )

    def budget_s(self, now: float) -> float | None:
        """Tell how long Kafka may be away; None where nobody knows, or nothing comes."""
        seconds = self._budget.seconds(now)
        return None if seconds is None or math.isinf(seconds) else seconds

    def can_hear(self, now: float) -> bool:
        """Tell whether a message that a device sends now would be read now.

        Not so while a backlog fills the window, or Kafka and the disk take nothing: what the MQTT
        broker holds back says nothing of the devices.
        """
        return (
            not self.is_stopping
            and self._mqtt_state() is MqttState.SUBSCRIBED
            and self._traffic.is_judging
            and not self._traffic.reading.is_paused
            and 2 * len(self._session.ledger) < self._config.mqtt.receive_maximum
            and self.oldest_unsettled_s(now) <= HELD_S
        )

    # ------------------------------------------------------------------ answers

    def residue(self) -> int:
        """Return what conservation leaves over."""
        return self._counters.residue(self._traffic.count_in_flight(), self._spooling.spooled)

    def gauges(self) -> Gauges:
        """Read what goes up and down."""
        now = clock.monotonic_s()
        is_ready, answer = health.ready(self.health())
        in_flight = self._traffic.count_in_flight()
        spooled = self._spooling.spooled
        return Gauges(
            in_flight=in_flight,
            residue=self._counters.residue(in_flight, spooled),
            oldest_unsettled_s=self.oldest_unsettled_s(now),
            window_used_ratio=self._traffic.reading.used_ratio,
            queue_depth=(
                self._traffic.waiting
                + self._outbox.unsettled.records
                + self._spooling.machine.spooled
            ),
            active_devices=self._active.count(now),
            dedup_window_s=self._duplicates.window_seconds(now),
            is_ready=is_ready,
            parts_ready={part: answer["checks"][part]["ok"] for part in ("mqtt", "kafka", "spool")},
            messages_spooled=spooled,
            spool_bytes=self._spooling.machine.live_bytes,
            spool_bytes_max=self._config.spool.bytes_max,
            outage_budget_s=self._budget.seconds(now),
            fleet=self._fleet.facts(),
            shedding=self._shedding(),
            shadow=self._shadow,
        )

    def status(self, *, reload: ReloadFacts | None = None) -> StatusInputs:
        """Gather all of it, for `/status`."""
        now = clock.monotonic_s()
        return StatusInputs(
            version=__version__,
            client_id=self._config.mqtt.client_id,
            reload=reload,
            uptime_s=now - self._started_s,
            now=now,
            health=structs.replace(self.health(), outage_budget_s=self._budget.seconds(now)),
            counters=self._counters,
            flow=self._flow,
            in_flight=self._traffic.count_in_flight(),
            spooled=self._spooling.spooled,
            oldest_unsettled_s=self.oldest_unsettled_s(now),
            window_used_ratio=self._traffic.reading.used_ratio,
            dedup_window_s=self._duplicates.window_seconds(now),
            inflow_per_s=self._budget.inflow_per_s,
            is_budget_unknown_after=self._budget.is_unknown_after,
            active_devices=self._active.count(now),
            fleet=self._fleet.facts(),
            shedding=self._shedding(),
            shadow=self._shadow,
            top=self._fleet.tops(),
            examples=self._examples,
        )

    def is_live(self) -> bool:
        """Tell what `/health/live` would."""
        return health.live(self.health())[0]

    def summary(self) -> str:
        """Say in one line how it stands."""
        return summarise(
            self.health(),
            flow=self._flow,
            in_flight=self._traffic.count_in_flight(),
            spooled=self._spooling.spooled,
            lag_s=self.oldest_unsettled_s(clock.monotonic_s()),
        )

    def oldest_unsettled_s(self, now: float) -> float:
        """Tell the age of the oldest message that neither Kafka nor the disk has."""
        oldest = (
            self._traffic.waiting_since_s,
            self._outbox.oldest_received_s,
            self._spooling.oldest_received_s,
        )
        return max((now - each for each in oldest if each is not None), default=0.0)

    def health(self) -> HealthInputs:
        """Judge both sides and the disk."""
        now = clock.monotonic_s()
        kafka = self._kafka_state(now)
        spool = self._spool.facts()
        idle_s = self._idle_s(now)
        return HealthInputs(
            mqtt=self._mqtt_state(),
            mqtt_detail=self._narrator.refusal,
            kafka=kafka,
            kafka_detail=self._kafka_detail(kafka, idle_s),
            spool=spool,
            outage_budget_s=self.budget_s(now),
            steps=[
                Step(name="produce", without_progress_s=idle_s, waits_for=_WAITS.get(kafka)),
                Step(
                    name="spool",
                    without_progress_s=self._spooling.job_age_s(now),
                    waits_for=_SPOOL_WAITS.get(spool.state),
                ),
            ],
            is_stopping=self.is_stopping,
        )

    def _mqtt_state(self) -> MqttState:
        if self._narrator.refusal:
            return MqttState.MQTT_REFUSES
        if self._session.phase is Phase.SUBSCRIBED and self._session.is_promise_kept:
            return MqttState.SUBSCRIBED
        if self._session.phase is Phase.CONNECTED:
            return MqttState.SUBSCRIBING
        return MqttState.MQTT_AWAY

    def _idle_s(self, now: float) -> float:
        return now - self._traffic.last_progress_s if self._traffic.is_owed else 0.0

    def _kafka_state(self, now: float) -> KafkaState:
        if not self._watch.answers or not self._traffic.is_released:
            return KafkaState.KAFKA_AWAY
        machine = self._spooling.machine
        is_barred = bool(machine.silent_topics or machine.stuck_topics)
        if machine.closed_topics or self._refused():
            return KafkaState.KAFKA_REFUSES  # It said so itself: an answer.
        confirmed_s = self._traffic.last_confirmed_s or 0.0
        if is_barred and self._watch.answered_s <= confirmed_s < now - FRESH_S:
            return KafkaState.KAFKA_AWAY  # It has answered nothing since it confirmed nothing.
        if is_barred or self._idle_s(now) > UNWILLING_S:
            return KafkaState.KAFKA_REFUSES
        return KafkaState.ANSWERS

    def _refused(self) -> dict[str, str]:
        return self._watch.topic_errors | self._outbox.held_topics

    def _kafka_detail(self, kafka: KafkaState, idle_s: float) -> str:
        if kafka is KafkaState.KAFKA_AWAY:
            if self._watch.error:
                return self._watch.error
            return "no answer" if self._traffic.is_released else "reading what it already has"
        machine = self._spooling.machine
        reasons = [f"{topic}: {error}" for topic, error in self._refused().items()]
        reasons += [f"{topic}: no delivery report" for topic in machine.silent_topics]
        reasons += [
            f"{topic}: {count} records unconfirmed" for topic, count in machine.stuck_topics.items()
        ]
        reasons += [
            f"{topic}: {count} partitions without a leader"
            for topic, count in machine.closed_topics.items()
        ]
        if not reasons and idle_s > UNWILLING_S:
            reasons.append("no delivery report for a while")
        return "; ".join(reasons)
