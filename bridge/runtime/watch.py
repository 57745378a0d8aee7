"""`watch`: silence judged from Kafka, where several bridges each hear a part of the fleet.

A thread reads, the event loop judges and tells, one after the other: while the thread waits for
records nothing is judged, so a rebalance never meets a judgement half done. No state is kept
anywhere but in Kafka: records are read back, and the alerts say what was told.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bridge import __version__
from bridge.config.sections import BridgeConfig
from bridge.errors import ExitCode
from bridge.fleet.listening import Listening
from bridge.fleet.registry import Registry
from bridge.fleet.timeline import LATENESS_S, Timeline
from bridge.kafka.partitions import partition_of
from bridge.kafka.properties import Properties
from bridge.observe.counters import Counters
from bridge.observe.log import EventLog
from bridge.runtime import clock
from bridge.runtime.alert_records import AlertRecords
from bridge.runtime.clock import LoopClock
from bridge.runtime.fleet_narrator import FleetNarrator
from bridge.runtime.fleet_parts import make_silence
from bridge.runtime.gap_records import rfc3339
from bridge.runtime.kafka_producer import KafkaProducer, kafka_properties
from bridge.runtime.registry_source import RegistrySource, make_registry_source
from bridge.runtime.state_directory import state_directory
from bridge.runtime.watch_reader import (
    Assigned,
    Heard,
    News,
    PartitionsDifferError,
    Revoked,
    WatchReader,
    WatchUnavailableError,
    describe,
)

STEP_S: Final = 0.2
RETRY_S: Final = 5.0
FLUSH_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 10.0
"""Leaving the group; a cluster that is away is not waited for."""
_BUCKETS_IN_INTERVAL: Final = 20
_BUCKET_MAX_S: Final = 1.0
_AT_ONCE: Final = 20
"""Moments judged before the loop turns."""


class Watch:
    """One member of the group, from start to stop; `run` returns the exit code."""

    def __init__(
        self,
        config: BridgeConfig,
        *,
        config_path: str,
        environment: Mapping[str, str],
        log: EventLog,
    ) -> None:
        """Make the parts; nothing runs yet.

        Raises:
            ConfigError: A secret cannot be read, or librdkafka refuses its configuration.
        """
        self._config = config
        self._config_path = config_path
        self._log = log
        self._started_s = clock.monotonic_s()
        self._stop = asyncio.Event()
        self._counters = Counters()
        self._registry = Registry()
        properties = kafka_properties(config, environment)
        self._producer = KafkaProducer(properties, on_error=self._on_kafka_error)
        silence = config.silence
        self._alerts = AlertRecords(self._producer, silence.kafka_topic, self._counters, log)
        self._narrator = FleetNarrator(
            client_id=silence.watch_group,
            registry=self._registry,
            records=self._alerts,
            counters=self._counters,
            log=log,
            clock=LoopClock(asyncio.get_running_loop()),
        )
        self._reader = make_reader(config, properties, on_handover=self._hand_over)
        self._registry_source = self._make_registry_source(properties, environment)
        self._thread = ThreadPoolExecutor(1, "watch")
        self._listening: Listening | None = None
        self._assigned_s = 0.0
        self._places: Sequence[tuple[str, int]] = ()
        self._told_error = ""

    def _make_registry_source(
        self, properties: Properties, environment: Mapping[str, str]
    ) -> RegistrySource | None:
        if self._config.registry is None:
            return None
        return make_registry_source(
            self._config.registry,
            self._registry,
            properties=lambda: properties,
            # Its own: the bridge of this host keeps a snapshot of the registry too.
            state=state_directory(self._config.mqtt.client_id, environment) / "watch",
            log=self._log,
            on_change=self._registry_changed,
        )

    # ------------------------------------------------------------------ life

    async def run(self) -> ExitCode:
        """Watch until a signal; return the exit code.

        Raises:
            ConfigError: The registry file cannot be used.
        """
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._on_stop_signal, each)
        self._tell_started()
        following: asyncio.Task[None] | None = None
        if self._registry_source is not None:
            await self._registry_source.start()
            following = loop.create_task(self._registry_source.follow(), name="registry")
        watching = loop.create_task(self._watch(), name="watch")
        tasks = [watching, *([following] if following is not None else [])]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        await watching
        if following is not None and following.done():
            following.result()  # It never ends by itself: our bug, told as one.
        await self._close(following)
        return self._tell_stopped()

    async def _watch(self) -> None:
        source = self._registry_source
        while source is not None and not source.is_settled and not self._stop.is_set():
            await self._wait(STEP_S)  # Intervals come from it; so the past is judged by it too.
        while not self._stop.is_set():
            try:
                news = await self._in_thread()
            except (WatchUnavailableError, PartitionsDifferError) as error:
                self._let_go()
                self._tell_trouble(error)
                await self._wait(RETRY_S)
                continue
            for each in news:
                self._take(each)
            await self._judge()
            self._producer.poll()
            self._alerts.serve(clock.monotonic_s())
            self._log.tick()

    async def _in_thread(self) -> list[News]:
        listening = self._listening
        ahead = frozenset(() if listening is None else listening.timeline.ahead())
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: self._reader.step(STEP_S, ahead=ahead)
        )

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def _close(self, following: "asyncio.Task[None] | None") -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await loop.run_in_executor(self._thread, self._hand_over)
                await loop.run_in_executor(self._thread, self._reader.close)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._alerts.serve(clock.monotonic_s())
        if following is not None and self._registry_source is not None:
            following.cancel()
            await self._registry_source.close()
        self._producer.close()

    def _hand_over(self) -> None:
        """See to it that all alerts are in Kafka; in the thread that reads, nobody judging."""
        if len(self._alerts):
            self._alerts.serve(clock.monotonic_s())
            self._producer.flush(timeout_s=FLUSH_TIMEOUT_S)

    # ------------------------------------------------------------------ what is read

    def _take(self, news: News) -> None:
        match news:
            case Assigned():
                self._listen(news)
            case Revoked():
                self._let_go()
            case Heard():
                self._hear(news)

    def _listen(self, assigned: Assigned) -> None:
        silence = self._config.silence
        owned, partitions = set(describe(assigned.places)), assigned.partitions
        width_s = min(_BUCKET_MAX_S, silence.expected_interval_s / _BUCKETS_IN_INTERVAL)
        self._listening = Listening(
            make_silence(silence, self._registry),
            Timeline(
                assigned.places,
                begins_s=assigned.begins_s,
                width_s=width_s,
                late_max_s=silence.multiplier * silence.expected_interval_s,
            ),
            begins_s=assigned.begins_s,
            live_from_s=assigned.assigned_s - LATENESS_S,
            pause_max_s=silence.expected_interval_s,
            told=assigned.told,
            is_fleet_told=assigned.is_fleet_told,
            is_ours=lambda device: partition_of(device, partitions) in owned,
        )
        self._assigned_s = clock.monotonic_s()
        self._places = assigned.places
        self._told_error = ""
        self._log.emit(
            "watch_assigned",
            partitions=sorted(owned),
            reads_from=rfc3339(assigned.begins_s),
            told=self._listening.told,
        )

    def _let_go(self) -> None:
        if self._listening is not None:
            self._listening = None
            self._log.emit("watch_revoked", partitions=describe(self._places))

    def _hear(self, heard: Heard) -> None:
        if self._listening is None:
            return
        timeline, now_s = self._listening.timeline, clock.unix_s()
        for place, offset, said in heard.records:
            timeline.say(place, offset, said, now_s)
        for place, offset in heard.reached:
            timeline.reach(place, offset)
        timeline.prove(heard.ends, heard.asked_s)

    async def _judge(self) -> None:
        listening = self._listening
        if listening is None:
            return
        was_live, judged = listening.is_live, 0
        while (noticed := listening.advance()) is not None:
            for fact, at_s in noticed:
                self._narrator.tell(fact, ago_s=max(0.0, clock.unix_s() - at_s))
            judged += 1
            if judged % _AT_ONCE == 0:
                await asyncio.sleep(0)
        if listening.is_live and not was_live:
            self._log.emit(
                "watch_caught_up",
                devices=listening.silence.devices,
                silent=listening.told,
                took_s=round(clock.monotonic_s() - self._assigned_s, 3),
            )

    def _registry_changed(self, gone: Sequence[str]) -> None:
        if self._listening is not None:
            self._listening.silence.registry_changed()
            for device_id in gone:
                self._listening.silence.forget(device_id.encode())

    # ------------------------------------------------------------------ what is told

    def _on_stop_signal(self, number: signal.Signals) -> None:
        self._log.emit("stop_signal_received", signal=number.name, count=1 + self._stop.is_set())
        self._stop.set()

    def _on_kafka_error(self, name: str, text: str) -> None:
        """Say nothing of brokers that are away: whoever reads finds out, and says it once."""
        if name == "_FATAL":
            self._log.emit("kafka_client_reported", facility=name, detail=text)

    def _tell_started(self) -> None:
        silence = self._config.silence
        self._log.emit(
            "watch_started",
            version=__version__,
            config_path=self._config_path,
            group=silence.watch_group,
            kafka_topics=list(self._reader.topics),
            back_s=silence.watch_back_s,
            pid=os.getpid(),
        )

    def _tell_trouble(self, error: WatchUnavailableError | PartitionsDifferError) -> None:
        if str(error) == self._told_error:
            return
        self._told_error = str(error)
        if isinstance(error, PartitionsDifferError):
            self._log.emit("watch_partitions_differ", error=str(error), retry_in_s=RETRY_S)
        else:
            self._log.emit("watch_unavailable", error=str(error), retry_in_s=RETRY_S)

    def _tell_stopped(self) -> ExitCode:
        self._log.emit(
            "watch_stopped",
            alerts=sum(self._counters.alerts.values()),
            alerts_held=len(self._alerts),
            uptime_s=round(clock.monotonic_s() - self._started_s, 1),
            exit_code=int(ExitCode.OK),
        )
        return ExitCode.OK


def make_reader(
    config: BridgeConfig, properties: Properties, *, on_handover: Callable[[], None]
) -> WatchReader:
    """Make the reader of all topics in which devices show signs of life."""
    silence = config.silence
    telemetry = {each.kafka_topic for each in config.route if each.kind != "opaque"}
    presence = {each.kafka_topic for each in config.route if each.presence} - telemetry
    return WatchReader(
        properties,
        telemetry=telemetry,
        presence=presence,
        alerts=silence.kafka_topic,
        group=silence.watch_group,
        back_s=silence.watch_back_s,
        on_handover=on_handover,
    )


async def watch(
    config: BridgeConfig, *, config_path: str, environment: Mapping[str, str], log: EventLog
) -> ExitCode:
    """Run one `watch` on the running loop."""
    return await Watch(config, config_path=config_path, environment=environment, log=log).run()
