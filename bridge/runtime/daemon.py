"""The daemon: joins the rooms, starts them, and stops them without losing anything.

A stop, in order: read nothing more; say `offline`; wait until Kafka has confirmed what is held,
within the budget; PUBACK what is confirmed; DISCONNECT, keeping the session. What is not confirmed
by then stays unacknowledged, so the MQTT broker sends it again after the next start.
"""

import asyncio
import gc
import os
import platform
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final

import confluent_kafka

from bridge import __version__
from bridge.config import secrets
from bridge.config.sections import BridgeConfig
from bridge.errors import ExitCode, UsageError
from bridge.kafka.outbox import Outbox
from bridge.kafka.properties import value_bytes_max
from bridge.mqtt.events import Connected, Event, Received
from bridge.mqtt.session import Phase
from bridge.observe import health
from bridge.observe.counters import ActiveDevices, Counters, LatencyHistogram, Outcome
from bridge.observe.health import HealthInputs, KafkaState, MqttState, Step, WaitsFor
from bridge.observe.log import EventLog, raised_at
from bridge.observe.metrics import BuildInfo, Gauges, Metrics
from bridge.pipeline.flow import Flow
from bridge.runtime import clock
from bridge.runtime.gap_finder import GapFinder
from bridge.runtime.gap_records import GapRecords
from bridge.runtime.http_endpoints import OpsEndpoints
from bridge.runtime.kafka_producer import KafkaProducer, kafka_properties
from bridge.runtime.kafka_watch import KafkaWatch
from bridge.runtime.mqtt_session import make_session
from bridge.runtime.mqtt_transport import MqttLink
from bridge.runtime.narrator import Narrator
from bridge.runtime.native_stderr import NativeStderr
from bridge.runtime.session_memory import SessionMemory
from bridge.runtime.state_directory import state_directory
from bridge.runtime.tail_reader import make_duplicates, make_tail_reader
from bridge.runtime.traffic import Books, Traffic

FLUSH_RESERVE_S: Final = 5.0
"""The part of the drain budget kept for PUBACKs, DISCONNECT and letting go."""
STUCK_PRODUCER_S: Final = 60.0
"""A producer silent for so long, twice librdkafka's own request time-out, is replaced."""
UNWILLING_S: Final = 10.0
"""Kafka answers, but has confirmed nothing for so long: too few replicas, or no leader."""
CLOSE_TIMEOUT_S: Final = 1.0
TICK_S: Final = 1.0


class Daemon:
    """One bridge, from start to stop; `run` returns the exit code."""

    def __init__(
        self,
        config: BridgeConfig,
        *,
        config_path: str,
        environment: Mapping[str, str],
        log: EventLog,
    ) -> None:
        self._config = config
        self._config_path = config_path
        self._environment = environment
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._started_s = clock.monotonic_s()
        self._counters = Counters()
        self._latency = LatencyHistogram()
        self._active = ActiveDevices(now_s=self._started_s)
        self._stop = asyncio.Event()
        self._cut_short = asyncio.Event()
        self._failure: BaseException | None = None
        self._kafka_away_since: float | None = None
        self._was_ready: bool | None = None
        self._reconciling: asyncio.Task[None] | None = None
        mqtt = config.mqtt
        self._address = f"{mqtt.host}:{mqtt.port}"
        state = state_directory(mqtt.client_id, environment)
        memory = SessionMemory(state, client_id=mqtt.client_id, address=self._address, log=log)
        self._session = make_session(config, memory)
        self._outbox = Outbox(records_max=mqtt.unsettled_max, bytes_max=mqtt.unsettled_bytes_max)
        properties = kafka_properties(config, environment)
        self._producer = KafkaProducer(properties, on_error=self._on_kafka_error)
        self._tail = make_tail_reader(config, properties, log)
        self._duplicates = make_duplicates(config)
        self._traffic = Traffic(
            flow=Flow(
                routes=config.route,
                dead_letter_topic=config.dead_letter.kafka_topic,
                validation=config.validation,
                entropy=os.urandom,
                duplicates=self._duplicates,
            ),
            duplicates=self._duplicates,
            session=self._session,
            outbox=self._outbox,
            producer=self._producer,
            value_bytes_max=value_bytes_max(config.kafka),
            books=Books(self._counters, self._latency, self._active, log),
            on_bug=self.on_bug,
            on_rebuilt=self._on_producer_rebuilt,
        )
        gap_records = GapRecords(self._producer, config, self._counters, log)
        expiry_s = mqtt.session_expiry_s
        self._gaps = GapFinder(memory, gap_records, log, session_expiry_s=expiry_s)
        self._narrator = Narrator(
            log, self._counters, address=self._address, client_id=mqtt.client_id
        )
        self._link = MqttLink(mqtt, self._session, self, password=self._mqtt_password)
        self._traffic.reader = self._link
        self._watch = KafkaWatch(
            self._producer,
            [*(each.kafka_topic for each in config.route), config.dead_letter.kafka_topic],
            last_confirmed_s=lambda: self._traffic.last_confirmed_s,
            on_change=self._on_kafka_change,
        )

    # ------------------------------------------------------------------ secrets

    def _mqtt_password(self) -> str | None:
        """Read the password anew for each connection, so that a renewed file is used."""
        secret = self._config.mqtt.password
        return None if secret is None else secrets.read(secret, self._environment)

    # ------------------------------------------------------------------ life

    async def run(self) -> ExitCode:
        """Start, serve until a signal or a failure of ours, stop; return the exit code.

        Raises:
            ConfigError: `ops.listen` cannot be used.
        """
        self._loop.set_exception_handler(self._on_exception)
        for each in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(each, self._on_stop_signal, each)
        ops = OpsEndpoints(
            listen=self._config.ops.listen,
            readiness=lambda: health.ready(self._health()),
            liveness=lambda: health.live(self._health()),
            metrics=self._metrics().render,
            log=self._log,
        )
        self._tell_started()
        await ops.start()
        self._log.emit("ops_listening", address=ops.address)
        tasks = [
            self._loop.create_task(self._link.run(), name="mqtt"),
            self._loop.create_task(self._watch.run(), name="kafka-watch"),
            self._loop.create_task(self._tick(), name="tick"),
            self._loop.create_task(self._release(), name="release"),
        ]
        for task in tasks:
            task.add_done_callback(self._on_task_done)
        _calm_collector()
        await self._stop.wait()
        await self._drain()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._reconciling is not None:
            self._reconciling.cancel()
        self._watch.close()
        self._tail.close()
        await ops.stop()
        return self._tell_stopped()

    async def _drain(self) -> None:
        started_s = clock.monotonic_s()
        drain_timeout_s = self._config.shutdown.drain_timeout_s
        self._log.emit(
            "bridge_stopping",
            cause="failure" if self._failure is not None else "signal",
            in_flight=len(self._outbox),
            drain_timeout_s=drain_timeout_s,
        )
        self._link.stop_connecting()
        self._traffic.stop_reading()
        self._session.say_offline(now=started_s)
        self._link.flush()
        is_drained = self._failure is None and await self._traffic.drain(
            timeout_s=drain_timeout_s - FLUSH_RESERVE_S, is_cut_short=self._cut_short
        )
        took_s = round(clock.monotonic_s() - started_s, 3)
        if is_drained:
            self._log.emit("drain_finished", took_s=took_s)
        elif self._failure is None:
            self._log.emit("drain_timed_out", unsettled=len(self._outbox), took_s=took_s)
        await self._gaps.close(self._session.last_heard)
        self._session.disconnect(now=clock.monotonic_s())
        await self._link.close(timeout_s=CLOSE_TIMEOUT_S)
        self._traffic.close()
        self._producer.close()

    # ------------------------------------------------------------------ what happens

    def on_received(self, received: Received) -> None:
        """Carry the PUBLISHes of one socket read."""
        self._traffic.take(received)

    def on_event(self, event: Event) -> None:
        """Tell what the session reported."""
        if isinstance(event, Connected):
            self._traffic.on_connected()
        self._narrator.tell(
            event,
            receive_maximum=self._config.mqtt.receive_maximum,
            session_expiry_s=self._config.mqtt.session_expiry_s,
        )
        self._gaps.note(event, self._session.granted)
        self._tell_readiness()

    def on_connect_failed(self, reason: str, *, retry_in_s: float) -> None:
        """Tell that no connection could be made."""
        self._narrator.tell_connect_failed(reason, retry_in_s=retry_in_s)
        self._gaps.note_connect_failed(reason)

    def on_connection_ended(self, *, retry_in_s: float) -> None:
        """Tell why the connection ended."""
        self._narrator.tell_ended(unsettled=len(self._outbox), retry_in_s=retry_in_s)
        self._gaps.note_ended(self._session.last_heard)
        self._tell_readiness()

    def on_bug(self, error: BaseException) -> None:
        """Stop because of a bug of ours: the MQTT broker still has what is not acknowledged."""
        if self._failure is None:
            self._failure = error
            self._log.emit("bridge_failed", error=repr(error), where=raised_at(error))
            self._stop.set()

    def on_poison_suspected(self, violations: int, detail: str) -> None:
        """Tell that the same packet probably comes back each time."""
        self._log.emit("mqtt_poison_suspected", times=violations, detail=detail)

    def on_takeover_suspected(self) -> None:
        """Tell that another client probably uses our client id."""
        self._narrator.note_takeover_suspected()

    def _on_kafka_error(self, name: str, text: str) -> None:
        if name == "_ALL_BROKERS_DOWN":
            self._watch.doubt()
        elif name == "_FATAL":
            self._log.emit("kafka_client_reported", facility=name, detail=text)

    def _on_kafka_change(self) -> None:
        now = clock.monotonic_s()
        servers = self._config.kafka.bootstrap_servers
        if not self._watch.answers and self._kafka_away_since is None:
            self._kafka_away_since = now
            self._log.emit(
                "kafka_unreachable",
                bootstrap_servers=servers,
                error=self._watch.error,
                in_flight=len(self._outbox),
            )
        elif self._watch.answers and self._kafka_away_since is not None:
            away_s = round(now - self._kafka_away_since, 1)
            self._kafka_away_since = None
            self._log.emit("kafka_recovered", bootstrap_servers=servers, away_s=away_s)
        self._tell_readiness()

    def _on_stop_signal(self, number: signal.Signals) -> None:
        is_second = self._stop.is_set()
        self._log.emit("stop_signal_received", signal=number.name, count=1 + is_second)
        if is_second:
            self._cut_short.set()
        self._stop.set()

    def _on_exception(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell what a library let escape; our own callbacks report to `on_bug` themselves."""
        self._log.emit(
            "library_reported",
            library="asyncio",
            text=str(context.get("message")),
            error=repr(context.get("exception")),
        )

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self.on_bug(task.exception() or RuntimeError(task.get_name()))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._log.tick()
            self._traffic.serve()
            self._gaps.tick(self._session.last_heard)
            self._tell_readiness()
            self._rebuild_if_stuck()

    def _rebuild_if_stuck(self) -> None:
        """Replace a producer that has work, a cluster that answers, and nothing to report."""
        since_s = max(self._traffic.last_progress_s, self._traffic.rebuilt_s)
        idle_s = clock.monotonic_s() - since_s
        is_cluster_willing = (
            self._watch.answers and not self._watch.topic_errors and not self._outbox.held_topics
        )
        if len(self._outbox) and is_cluster_willing and idle_s > STUCK_PRODUCER_S:
            self._traffic.rebuild("no delivery report", cause="stuck")

    async def _release(self) -> None:
        """Let messages pass once it is known what Kafka already has."""
        self._traffic.release(await self._tail.read_window())
        self._tell_readiness()

    def _on_producer_rebuilt(self) -> None:
        self._reconciling = self._loop.create_task(self._reconcile(), name="reconcile")
        self._reconciling.add_done_callback(self._on_task_done)

    async def _reconcile(self) -> None:
        """Find out what the old producer brought home, then go on with the new one."""
        oldest_us = self._outbox.oldest_received_us
        found: set[bytes] = set()
        if oldest_us is not None:
            for chunk in await self._tail.read_since(oldest_us // 1_000):
                found.update(chunk.split())
        self._traffic.reconcile(found)

    # ------------------------------------------------------------------ what is told

    def _tell_started(self) -> None:
        self._log.emit(
            "bridge_started",
            version=__version__,
            config_path=self._config_path,
            mqtt_address=self._address,
            bootstrap_servers=self._config.kafka.bootstrap_servers,
            client_id=self._config.mqtt.client_id,
            routes=[f"{each.filter} -> {each.kafka_topic}" for each in self._config.route],
            python=platform.python_version(),
            librdkafka=confluent_kafka.libversion()[0],
            pid=os.getpid(),
        )

    def _tell_readiness(self) -> None:
        if self._stop.is_set():
            return
        is_ready, body = health.ready(self._health())
        if is_ready == self._was_ready:
            return
        self._was_ready = is_ready
        if is_ready:
            after_s = clock.monotonic_s() - self._started_s
            self._log.emit("bridge_ready", after_s=round(after_s, 3))
            return
        parts = health.missing_parts(body)
        states = [body["checks"][part]["state"] for part in parts]
        self._log.emit("bridge_not_ready", parts=parts, states=states)

    def _tell_stopped(self) -> ExitCode:
        in_flight = self._traffic.count_in_flight()
        residue = self._counters.residue(in_flight)
        settled = self._counters.settled
        exit_code = ExitCode.OK
        if residue:
            self._log.emit(
                "conservation_broken",
                residue=residue,
                received=self._counters.received,
                produced=settled[Outcome.PRODUCED],
                dead_lettered=settled[Outcome.DEAD_LETTERED],
                in_flight=in_flight,
            )
        if residue or self._failure is not None:
            exit_code = ExitCode.BUG
        self._log.emit(
            "bridge_stopped",
            received=self._counters.received,
            received_qos0=self._counters.received_qos0,
            produced=settled[Outcome.PRODUCED],
            dead_lettered=settled[Outcome.DEAD_LETTERED],
            duplicates=settled[Outcome.DUPLICATE],
            unsettled=in_flight,
            residue=residue,
            uptime_s=round(clock.monotonic_s() - self._started_s, 1),
            exit_code=int(exit_code),
        )
        return exit_code

    # ------------------------------------------------------------------ what is asked

    def _metrics(self) -> Metrics:
        return Metrics(
            counters=self._counters,
            latency=self._latency,
            gauges=self._gauges,
            build=BuildInfo(
                version=__version__,
                python=platform.python_version(),
                librdkafka=confluent_kafka.libversion()[0],
            ),
            log=self._log,
        )

    def _gauges(self) -> Gauges:
        now = clock.monotonic_s()
        in_flight = self._traffic.count_in_flight()
        oldest_s = self._outbox.oldest_received_s
        return Gauges(
            in_flight=in_flight,
            residue=self._counters.residue(in_flight),
            oldest_unsettled_s=0.0 if oldest_s is None else now - oldest_s,
            window_used_ratio=self._outbox.used_ratio,
            queue_depth=len(self._outbox),
            active_devices=self._active.count(now),
            dedup_window_s=self._duplicates.window_seconds(now),
            is_ready=health.ready(self._health())[0],
        )

    def _health(self) -> HealthInputs:
        mqtt = MqttState.MQTT_AWAY
        if self._narrator.refusal:
            mqtt = MqttState.MQTT_REFUSES
        elif self._session.phase is Phase.SUBSCRIBED and self._session.is_promise_kept:
            mqtt = MqttState.SUBSCRIBED
        now = clock.monotonic_s()
        idle_s = now - self._traffic.last_progress_s if len(self._outbox) else 0.0
        refused = self._watch.topic_errors | self._outbox.held_topics
        kafka = KafkaState.ANSWERS
        if not self._watch.answers or not self._traffic.is_released:
            kafka = KafkaState.KAFKA_AWAY
        elif refused or idle_s > UNWILLING_S:
            kafka = KafkaState.KAFKA_REFUSES
        waits_for = {
            KafkaState.KAFKA_AWAY: WaitsFor.KAFKA_AWAY,
            KafkaState.KAFKA_REFUSES: WaitsFor.KAFKA_REFUSES,
        }.get(kafka)
        return HealthInputs(
            mqtt=mqtt,
            mqtt_detail=self._narrator.refusal,
            kafka=kafka,
            kafka_detail=(
                (self._watch.error or "reading what it already has")
                if kafka is KafkaState.KAFKA_AWAY
                else "; ".join(f"{topic}: {error}" for topic, error in refused.items())
                or ("no delivery report for a while" if idle_s > UNWILLING_S else "")
            ),
            steps=[Step(name="produce", without_progress_s=idle_s, waits_for=waits_for)],
            is_stopping=self._stop.is_set(),
        )


def _calm_collector() -> None:
    """Let the cyclic collector run seldom: what a message leaves behind has no cycles.

    It took 12 % of a drain's CPU at Python's thresholds, walking all that was imported each time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def serve(
    config: BridgeConfig, *, config_path: str, environment: Mapping[str, str], log: EventLog
) -> ExitCode:
    """Run one daemon on the running loop."""
    if sys.flags.optimize:
        raise UsageError("python -O removes the bridge's own checks: run it without")
    daemon = Daemon(config, config_path=config_path, environment=environment, log=log)
    native_stderr = NativeStderr(log)
    try:
        return await daemon.run()
    finally:
        native_stderr.stop()
