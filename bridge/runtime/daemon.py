"""The daemon: joins the rooms, starts them, and stops them without losing anything.

How a stop goes is said in `stopping`, how a reload goes in `reloading`.
"""

import asyncio
import os
import platform
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import confluent_kafka
from msgspec import structs

from bridge import __version__
from bridge.config.loading import LoadedConfig
from bridge.config.sections import BridgeConfig
from bridge.errors import ExitCode, UsageError
from bridge.mqtt.events import Connected, Event, Received
from bridge.observe import health
from bridge.observe.log import EventLog, raised_at
from bridge.observe.metrics import BuildInfo, LinkFacts, Metrics
from bridge.observe.outage_budget import BudgetLow
from bridge.observe.status import status
from bridge.runtime import clock, event_loop, start_signals
from bridge.runtime.certificates import CertificateWatch, certificate_files
from bridge.runtime.clock import LoopClock
from bridge.runtime.fault_points import reach
from bridge.runtime.file_watch import FileWatch
from bridge.runtime.http_endpoints import OpsEndpoints
from bridge.runtime.kafka_renewal import KafkaRenewal
from bridge.runtime.memory import MemoryKeeper, calm_collector
from bridge.runtime.native_stderr import NativeStderr
from bridge.runtime.ops_guard import Guard
from bridge.runtime.pacing import Pacing
from bridge.runtime.parts import Parts
from bridge.runtime.reloading import FILE, SIGNAL, Reloader
from bridge.runtime.spool_start import open_spool
from bridge.runtime.stopping import Stopping
from bridge.runtime.systemd import Supervisor

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
        load: Callable[[], LoadedConfig],
    ) -> None:
        self._config = config
        self._config_path = config_path
        self._environment = environment
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._started_s = clock.monotonic_s()
        self._stop = asyncio.Event()
        self._cut_short = asyncio.Event()
        self._failure: BaseException | None = None
        self._kafka_away_since: float | None = None
        self._was_ready: bool | None = None
        self._parts = parts = Parts(
            config,
            environment=environment,
            log=log,
            link_observer=self,
            on_bug=self.on_bug,
            on_task=lambda task: task.add_done_callback(self._on_task_done),
            on_kafka_error=self._on_kafka_error,
            on_kafka_change=self._on_kafka_change,
        )
        self._address = parts.address
        self._books = parts.books
        self._counters = parts.books.counters
        self._session = parts.session
        self._producer = parts.producer
        self._watch = parts.watch
        self._tail = parts.tail
        self._duplicates = parts.duplicates
        self._outbox = parts.outbox
        self._disk = parts.disk
        self._spooling = parts.spooling
        self._spool = parts.spool_narrator
        self._traffic = parts.traffic
        self._recovery = parts.recovery
        self._registry_source = parts.registry_source
        self._fleet = parts.fleet
        self._attendance = parts.fleet.attendance
        self._gaps = parts.gaps
        self._narrator = parts.narrator
        self._link = parts.link
        self._vitals = parts.vitals
        self._onlookers = parts.onlookers
        self._memory = MemoryKeeper(now=clock.monotonic_s())
        self._supervisor = Supervisor(environment)
        self._certificates = CertificateWatch(certificate_files(config), log)
        renewal = KafkaRenewal(parts, log)
        self._pacing = Pacing(
            parts, renewal, log, on_task=lambda task: task.add_done_callback(self._on_task_done)
        )
        self._reloader = self._make_reloader(load, renewal)
        self._files = FileWatch(
            self._reloader.files,
            lambda _: self._reloader.ask(FILE),
            first=self._reloader.first_looks,
        )

    def _make_reloader(self, load: Callable[[], LoadedConfig], renewal: KafkaRenewal) -> Reloader:
        return Reloader(
            self._parts,
            self._config,
            load=load,
            environment=self._environment,
            config_path=Path(self._config_path),
            log=self._log,
            counters=self._counters,
            on_taken=lambda taken: self._certificates.follow(certificate_files(taken)),
            renewal=renewal,
        )

    # ------------------------------------------------------------------ life

    async def run(self) -> ExitCode:
        """Start, serve until a signal or a failure of ours, stop; return the exit code.

        Raises:
            ConfigError: The spool or `ops.listen` cannot be used.
            DiskError: The disk of the spool is full or failing.
        """
        self._loop.set_exception_handler(self._on_exception)
        for each in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(each, self._on_stop_signal, each)
        self._loop.add_signal_handler(signal.SIGHUP, self._reloader.ask, SIGNAL)
        if start_signals.is_reload_asked():
            self._reloader.ask(SIGNAL)
        ops = self._make_ops()
        stopping = Stopping(
            self._parts,
            log=self._log,
            supervisor=self._supervisor,
            drain_timeout_s=self._config.shutdown.drain_timeout_s,
        )
        self._tell_started()
        self._supervisor.starting()
        await self._read_what_was_kept()
        await ops.start()
        self._log.emit("ops_listening", address=ops.address)
        # Whatever is away: systemd shall not end, for being slow, what waits or spools.
        self._supervisor.ready(self._vitals.summary())
        # These use what a stop closes one by one, so they end before it.
        early = [
            self._loop.create_task(self._tick(), name="tick"),
            self._loop.create_task(self._recovery.release(), name="release"),
        ]
        reloading = self._loop.create_task(self._reload(), name="reload")
        tasks = [
            *early,
            reloading,
            self._loop.create_task(self._link.run(), name="mqtt"),
            self._loop.create_task(self._watch.run(), name="kafka-watch"),
            self._loop.create_task(self._fleet.state.run(), name="fleet-state"),
            self._loop.create_task(self._supervisor.feed(self._vitals.is_live), name="watchdog"),
            self._loop.create_task(self._certificates.run(), name="certificates"),
            self._loop.create_task(self._onlookers.run(), name="onlookers"),
            self._loop.create_task(self._files.run(), name="files"),
        ]
        if self._registry_source is not None:
            following = self._registry_source.follow()
            tasks.append(self._loop.create_task(following, name="registry"))
        for task in tasks:
            task.add_done_callback(self._on_task_done)
        calm_collector()
        await self._stop.wait()
        await self._keep_links(reloading)
        await stopping.drain(is_failed=self._failure is not None, is_cut_short=self._cut_short)
        await _cancelled(early)
        await stopping.close()
        await _cancelled(tasks)
        is_settled = self._failure is None and not self._outbox.unsettled.records
        await self._fleet.state.close(is_settled=is_settled)
        if self._registry_source is not None:
            await self._registry_source.close()
        self._watch.close()
        self._tail.close()
        await ops.stop()
        uptime_s = clock.monotonic_s() - self._started_s
        exit_code = stopping.tell_stopped(is_failed=self._failure is not None, uptime_s=uptime_s)
        if self._disk is not None:
            await self._disk.close()
        self._supervisor.close()
        return exit_code

    async def _keep_links(self, reloading: "asyncio.Task[None]") -> None:
        """See that no link is renewed while it is let go."""
        await _cancelled([reloading])
        self._reloader.close()
        await self._pacing.close()

    async def _read_what_was_kept(self) -> None:
        await self._recovery.prepare()
        await self._open_spool()
        if self._registry_source is not None:
            await self._registry_source.start()
        await self._fleet.state.load()
        self._attendance.look_at_host()

    def _make_ops(self) -> OpsEndpoints:
        return OpsEndpoints(
            listen=self._config.ops.listen,
            readiness=lambda: health.ready(self._vitals.health()),
            liveness=lambda: health.live(self._vitals.health()),
            metrics=self._metrics().render,
            status=lambda: status(self._vitals.status(reload=self._reloader.facts)),
            devices=self._fleet.view.devices,
            log=self._log,
            guard=Guard(self._config.ops, self._environment, self._log),
        )

    async def _open_spool(self) -> None:
        if self._disk is None:
            return
        opened = await open_spool(
            self._disk,
            self._spooling,
            self._duplicates,
            bytes_max=self._config.spool.bytes_max,
            counters=self._counters,
            log=self._log,
            clock=LoopClock(self._loop),
        )
        self._spool.note_start(opened.rows_by_topic, clock.monotonic_s())
        self._tail.add(opened.rows_by_topic)
        for kafka_topic, rows in opened.rows_by_topic.items():
            if kafka_topic not in self._watch.kafka_topics:
                self._log.emit("spool_topic_not_configured", kafka_topic=kafka_topic, rows=rows)

    # ------------------------------------------------------------------ what happens

    def on_received(self, received: Received) -> None:
        """Carry the PUBLISHes of one socket read."""
        self._traffic.take(received)

    def on_event(self, event: Event) -> None:
        """Tell what the session reported."""
        if isinstance(event, Connected):
            self._traffic.reading.on_connected()
        self._narrator.tell(
            event,
            receive_maximum=self._config.mqtt.receive_maximum,
            session_expiry_s=self._config.mqtt.session_expiry_s,
        )
        self._gaps.note(event, self._session.subscriptions.granted)
        self._tell_readiness()

    def on_connect_failed(self, reason: str, *, retry_in_s: float) -> None:
        """Tell that no connection could be made."""
        self._narrator.tell_connect_failed(reason, retry_in_s=retry_in_s)
        self._gaps.note_connect_failed(reason)

    def on_connection_ended(self, *, retry_in_s: float) -> None:
        """Tell why the connection ended."""
        self._narrator.tell_ended(unsettled=len(self._outbox), retry_in_s=retry_in_s)
        self._gaps.note_ended(self._session.last_heard)
        self._attendance.link_lost(self._session.last_heard)
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
        elif name in {"_FATAL", "_INVALID_ARG"}:  # The latter of a rebuild that its files forbid.
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

    async def _reload(self) -> None:
        await self._reloader.run(
            on_begin=self._supervisor.reloading,
            on_end=lambda: self._supervisor.ready(self._vitals.summary()),
        )

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if reach("loop"):
                self._counters.received += 1
            now = clock.monotonic_s()
            self._log.tick()
            self._traffic.serve()
            self._recovery.tick(now)
            self._pacing.tick(now)
            self._gaps.tick(self._session.last_heard)
            self._attendance.tick(
                can_hear=self._vitals.can_hear(now), last_heard_s=self._session.last_heard
            )
            self._tell_budget(now)
            self._spool.tell(self._spool.facts(), now, outage_budget_s=self._vitals.budget_s(now))
            self._memory.tick(now)
            self._tell_readiness()
            self._supervisor.tick(self._vitals.summary)

    def _tell_budget(self, now: float) -> None:
        news = self._vitals.tick(now)
        if news is not None:
            is_low = isinstance(news, BudgetLow)
            name = "outage_budget_low" if is_low else "outage_budget_recovered"
            self._log.emit(name, **structs.asdict(news))

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
            event_loop=event_loop.name_of(self._loop),
            librdkafka=confluent_kafka.libversion()[0],
            pid=os.getpid(),
        )

    def _tell_readiness(self) -> None:
        if self._stop.is_set():
            return
        is_ready, body = health.ready(self._vitals.health())
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

    def _metrics(self) -> Metrics:
        return Metrics(
            counters=self._counters,
            latency=self._books.latency,
            gauges=self._vitals.gauges,
            build=BuildInfo(
                version=__version__,
                python=platform.python_version(),
                librdkafka=confluent_kafka.libversion()[0],
            ),
            log=self._log,
            links=LinkFacts(
                certificates=lambda: self._certificates.ends, kafka=self._producer.facts
            ),
            started_unix_s=clock.unix_s() - (clock.monotonic_s() - self._started_s),
        )


async def _cancelled(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def serve(
    config: BridgeConfig,
    *,
    config_path: str,
    environment: Mapping[str, str],
    log: EventLog,
    load: Callable[[], LoadedConfig],
) -> ExitCode:
    """Run one daemon on the running loop; `load` reads its configuration anew."""
    if sys.flags.optimize:
        raise UsageError("python -O removes the bridge's own checks: run it without")
    daemon = Daemon(config, config_path=config_path, environment=environment, log=log, load=load)
    native_stderr = NativeStderr(log)
    try:
        return await daemon.run()
    finally:
        native_stderr.stop()
