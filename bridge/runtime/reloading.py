"""The configuration is read anew while the bridge runs: what can be taken is taken, the rest named.

Theory of operation. SIGHUP asks for a reload, and so does a file that changed: the configuration
itself, or one that a link or a rule is made of. Everything that can fail is done first, in a
thread: reading, checking, building; a new producer even asks Kafka something. If any of it fails
nothing has happened. Then, between two batches, messages are judged by the new rules, and links
whose credentials changed are made anew: MQTT by a reconnect that keeps the session, Kafka by a
second producer that takes over once the first has delivered what it had.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import structs

from bridge.config import secrets
from bridge.config.changes import (
    Change,
    Takes,
    changes_between,
    link_files,
    merge,
    rule_files,
)
from bridge.config.loading import LoadedConfig
from bridge.config.paths import quoted
from bridge.config.sections import BridgeConfig
from bridge.errors import ConfigError
from bridge.observe.catalogue.entry import Level
from bridge.observe.counters import Counters, ReloadOutcome
from bridge.observe.log import EventLog
from bridge.observe.reload_facts import ReloadFacts
from bridge.pipeline.decode import Decoding, decoding_of
from bridge.runtime import clock
from bridge.runtime.file_watch import Look, look_at
from bridge.runtime.kafka_producer import Successor, kafka_properties
from bridge.runtime.parts import Parts
from bridge.runtime.tls import client_context

TRY_TIMEOUT_S: Final = 10.0
"""How long Kafka may take to answer a new producer: TLS, SASL and one request."""
RETRY_S: Final = 30.0
"""Credentials that Kafka does not take yet are tried again: it may learn them a little later."""
HANDOVER_S: Final = 10.0
"""A producer that has not delivered all by then never may: its connection may be gone for good."""
REST_S: Final = 0.25
"""A file that is written in place is empty first, and then half of what it will be."""
REST_LOOKS_MAX: Final = 20
_LOOK_S: Final = 0.02
SIGNAL, FILE, RETRY = "signal", "file", "retry"


class Plan(msgspec.Struct, kw_only=True):
    """What a reload would do, made ready: nothing of it can fail any more."""

    config: BridgeConfig
    """What will run."""
    changes: list[Change]
    looks: dict[Path, Look]
    decoding: Decoding | None = None
    """None: the rules are as they were."""
    is_mqtt_due: bool = False
    successor: Successor | None = None
    kafka_failure: str | None = None
    """Why Kafka does not answer the successor."""


class Reloader:
    """Reload when asked, one at a time."""

    def __init__(  # noqa: PLR0913 - all named
        self,
        parts: Parts,
        config: BridgeConfig,
        *,
        load: Callable[[], LoadedConfig],
        environment: Mapping[str, str],
        config_path: Path,
        log: EventLog,
        counters: Counters,
        on_taken: Callable[[BridgeConfig], None],
    ) -> None:
        """`load` reads what the bridge was started with, and raises ConfigError.

        `on_taken` is told what runs, for whoever looks at it now and then.
        """
        self.facts: ReloadFacts | None = None
        self._parts = parts
        self._config = config
        self._load = load
        self._environment = environment
        self._config_path = config_path
        self._log = log
        self._counters = counters
        self._on_taken = on_taken
        self._cause = ""
        self._asked = asyncio.Event()
        self._looks = _look_at_all(self._files_of(config))
        """What the files looked like when what they say was taken."""
        self._retry: asyncio.TimerHandle | None = None

    def files(self) -> Iterable[Path]:
        """List the files whose change is a reason to reload."""
        return [self._config_path, *self._files_of(self._config)]

    def _files_of(self, config: BridgeConfig) -> list[Path]:
        files = link_files(config, self._environment)
        return sorted(files.mqtt | files.kafka | rule_files(config))

    def ask(self, cause: str) -> None:
        """Reload soon; a signal that comes while files change is the one that is told."""
        self._cause = cause if not self._asked.is_set() or cause == SIGNAL else self._cause
        self._asked.set()

    async def run(self, *, on_begin: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Wait to be asked, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            on_begin()
            await self._reload(self._cause)
            on_end()

    # ------------------------------------------------------------------ one reload

    async def _reload(self, cause: str) -> None:
        began_s = clock.monotonic_s()
        if self._retry is not None:
            self._retry.cancel()
        try:
            plan = await asyncio.to_thread(self._prepare)
        except ConfigError as error:
            self._tell_refused(cause, error)
            return
        renewed = await self._take(plan)
        taken = [each for each in plan.changes if each.takes is not Takes.RESTART]
        changed = [each.text for each in taken]
        needs_restart = [each.key for each in plan.changes if each.takes is Takes.RESTART]
        before = self.facts
        was_known = before is not None and list(before.needs_restart) == needs_restart
        if cause != SIGNAL and not changed and not renewed and (was_known or not needs_restart):
            return  # The file was touched, or read already when a signal asked for it.
        self._counters.reloads[ReloadOutcome.TAKEN] += 1
        self.facts = ReloadFacts(
            at=_now(),
            cause=cause,
            outcome=ReloadOutcome.TAKEN,
            changed=changed,
            renewed=renewed,
            needs_restart=needs_restart,
        )
        self._log.emit(
            "configuration_reloaded",
            cause=cause,
            config_path=str(self._config_path),
            changed=changed,
            renewed=renewed,
            needs_restart=needs_restart,
            took_s=round(clock.monotonic_s() - began_s, 3),
        )

    def _tell_refused(self, cause: str, error: ConfigError) -> None:
        problems = list(error.problems)
        self._counters.reloads[ReloadOutcome.REFUSED] += 1
        self.facts = ReloadFacts(
            at=_now(),
            cause=cause,
            outcome=ReloadOutcome.REFUSED,
            needs_restart=() if self.facts is None else self.facts.needs_restart,
            problems=problems,
        )
        self._log.emit(
            "reload_refused",
            cause=cause,
            config_path=str(self._config_path),
            problems=problems,
        )

    def _prepare(self) -> Plan:
        """Do everything that may fail; blocking, so in a thread.

        Raises:
            ConfigError: The file, or one that it names, cannot be used.
        """
        self._await_rest()
        wanted = self._load().config
        config = merge(self._config, wanted)
        # Looked at before they are read: what changes meanwhile is a change for the next time.
        plan = Plan(
            config=config,
            changes=changes_between(self._config, wanted),
            looks=_look_at_all(self._files_of(config)),
        )
        takes = {each.takes for each in plan.changes}
        if Takes.LIVE in takes or self._have_changed(rule_files(config), plan):
            plan.decoding = decoding_of(config)
        files = link_files(config, self._environment)
        if Takes.MQTT_RECONNECT in takes or self._have_changed(files.mqtt, plan):
            plan.is_mqtt_due = True
            _try_mqtt(config, self._environment)
        if Takes.KAFKA_RECONNECT in takes or self._have_changed(files.kafka, plan):
            properties = kafka_properties(config, self._environment)
            plan.successor = self._parts.producer.prepare(properties)
            plan.kafka_failure = plan.successor.try_it(timeout_s=TRY_TIMEOUT_S)
        return plan

    def _await_rest(self) -> None:
        """Wait until the file is the same for a moment: half of one may be a whole other one.

        Raises:
            ConfigError: There is nothing in it, which would be all defaults.
        """
        look = look_at(self._config_path)
        for _ in range(REST_LOOKS_MAX):
            time.sleep(REST_S)
            before, look = look, look_at(self._config_path)
            if look == before:
                break
        if look is not None and look.size == 0:
            where = f"config file {quoted(str(self._config_path))}"
            raise ConfigError([f"{where} is empty; write the configuration into it"])

    def _have_changed(self, files: Iterable[Path], plan: Plan) -> bool:
        return any(plan.looks[each] != self._looks.get(each) for each in files)

    async def _take(self, plan: Plan) -> list[str]:
        """Let the bridge run with it; return the links that were made anew."""
        parts, before = self._parts, self._config
        renewed: list[str] = []
        if plan.decoding is not None:
            parts.follow(plan.config, plan.decoding, now_s=clock.monotonic_s())
        if plan.config.log.level != before.log.level:
            self._log.level = Level(plan.config.log.level)
        if plan.is_mqtt_due:
            parts.renew_mqtt(plan.config)
            renewed.append("mqtt")
        if plan.successor is not None and self._is_successor_taken(plan):
            parts.renew_kafka(plan.config, plan.successor)
            await self._await_handover()
            renewed.append("kafka")
        self._config = plan.config
        self._looks = plan.looks
        self._on_taken(plan.config)
        return renewed

    def _is_successor_taken(self, plan: Plan) -> bool:
        """Decide on a successor that Kafka does not answer: where the old one works, it stays."""
        if plan.kafka_failure is None or not self._parts.watch.answers:
            return True
        self._log.emit("kafka_renewal_failed", error=plan.kafka_failure, retry_in_s=RETRY_S)
        plan.config = structs.replace(plan.config, kafka=self._config.kafka)
        plan.changes = [each for each in plan.changes if each.takes is not Takes.KAFKA_RECONNECT]
        for each in link_files(self._config, self._environment).kafka:
            plan.looks[each] = self._looks.get(each)
        loop = asyncio.get_running_loop()
        self._retry = loop.call_later(RETRY_S, self.ask, RETRY)
        return False

    async def _await_handover(self) -> None:
        """Wait until the old producer has delivered what it had, or give it up."""
        traffic, producer = self._parts.traffic, self._parts.producer
        began_s = clock.monotonic_s()
        is_drained = True
        while producer.is_handing_over:
            if clock.monotonic_s() - began_s > HANDOVER_S:
                # What it may have sent is looked for in Kafka before any of it is sent again.
                is_drained = False
                traffic.rebuild("the old connection delivered nothing more", cause="renewed")
            await asyncio.sleep(_LOOK_S)
            traffic.serve()
        traffic.carry(self._parts.outbox.due(clock.monotonic_s()))
        self._log.emit(
            "kafka_producer_renewed",
            waited_s=round(clock.monotonic_s() - began_s, 3),
            is_drained=is_drained,
        )

    def close(self) -> None:
        """Ask for nothing more."""
        if self._retry is not None:
            self._retry.cancel()


def _try_mqtt(config: BridgeConfig, environment: Mapping[str, str]) -> None:
    """See that the next connection can be made with what the files say.

    Raises:
        ConfigError: They cannot be used.
    """
    mqtt = config.mqtt
    if mqtt.password is not None:
        secrets.read(mqtt.password, environment)
    if mqtt.tls is not None:
        try:
            client_context(mqtt.tls)
        except OSError as error:  # ssl.SSLError is one.
            raise ConfigError([f"mqtt.tls: the certificates cannot be used: {error}"]) from error


def _look_at_all(files: Iterable[Path]) -> dict[Path, Look]:
    return {path: look_at(path) for path in files}


def _now() -> str:
    with contextlib.suppress(OverflowError):
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return ""
