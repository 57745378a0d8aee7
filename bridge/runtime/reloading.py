"""The configuration is read anew while the bridge runs: what can be taken is taken, the rest named.

Theory of operation. SIGHUP asks for a reload, and so does a file that changed: the configuration
itself, or one that a link or a rule is made of. Everything that can fail is done first, in a
thread: reading, checking, building; a new producer even asks Kafka something. If any of it fails
nothing has happened. Then, between two batches, messages are judged by the new rules, and links
whose credentials changed are made anew: MQTT by a reconnect that keeps the session, Kafka by a
second producer that takes over once the first has delivered what it had.
"""

import asyncio
import enum
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from bridge.config.loading import LoadedConfig, problems_of
from bridge.config.paths import quoted_path
from bridge.config.sections import BridgeConfig
from bridge.errors import ConfigError
from bridge.observe.catalogue.entry import Level
from bridge.observe.counters import Counters, ReloadOutcome
from bridge.observe.log import EventLog, raised_at
from bridge.observe.reload_facts import ReloadFacts
from bridge.pipeline.decode import Decoding, decoding_of
from bridge.runtime import clock
from bridge.runtime.file_watch import Look, look_at
from bridge.runtime.gap_records import rfc3339
from bridge.runtime.kafka_handle import Handle
from bridge.runtime.kafka_producer import kafka_properties
from bridge.runtime.kafka_renewal import KafkaRenewal
from bridge.runtime.parts import Parts
from bridge.runtime.tls import client_context

TRY_TIMEOUT_S: Final = 10.0
"""How long Kafka may take to answer a new producer: TLS, SASL and one request."""
RETRY_S: Final = 30.0
"""Credentials that Kafka does not take yet are tried again: it may learn them a little later."""
REST_S: Final = 0.25
"""A file that is written in place is empty first, and then half of what it will be."""
REST_LOOKS_MAX: Final = 20
SIGNAL, FILE, RETRY = "signal", "file", "retry"


class Side(enum.Enum):
    """What a file is part of; one may be part of several."""

    RULES = enum.auto()
    MQTT = enum.auto()
    KAFKA = enum.auto()


class Plan(msgspec.Struct, kw_only=True):
    """What a reload would do, made ready: only the old Kafka producer may still be in its way."""

    config: BridgeConfig
    """What will run."""
    changes: list[Change]
    looks: Mapping[Side, Mapping[Path, Look]]
    warnings: Sequence[str] = ()
    decoding: Decoding | None = None
    """None: the rules are as they were."""
    is_mqtt_due: bool = False
    successor: Handle | None = None
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
        renewal: KafkaRenewal,
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
        self._warned: frozenset[str] = frozenset()
        """What the last reload was warned of: the next one tells what is new."""
        self._asked = asyncio.Event()
        self._kafka = renewal
        self._looks = self._look_at(config)
        """What the files looked like when what they say was taken."""
        self.first_looks = {
            path: look for each in self._looks.values() for path, look in each.items()
        }
        """What all files looked like at the start, the configuration too."""
        self.first_looks[config_path] = look_at(config_path)
        self._retry: asyncio.TimerHandle | None = None

    def files(self) -> Iterable[Path]:
        """List the files whose change is a reason to reload."""
        return {self._config_path}.union(*self._files_of(self._config).values())

    def _files_of(self, config: BridgeConfig) -> Mapping[Side, frozenset[Path]]:
        links = link_files(config, self._environment)
        return {Side.RULES: rule_files(config), Side.MQTT: links.mqtt, Side.KAFKA: links.kafka}

    def _look_at(self, config: BridgeConfig) -> Mapping[Side, Mapping[Path, Look]]:
        return {
            side: {path: look_at(path) for path in files}
            for side, files in self._files_of(config).items()
        }

    def ask(self, cause: str) -> None:
        """Reload soon; a signal that comes while files change is the one that is told."""
        self._cause = cause if not self._asked.is_set() or cause == SIGNAL else self._cause
        self._asked.set()

    async def run(self, *, on_begin: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Wait to be asked, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            if self._cause == RETRY:  # Nobody asked for it, and mostly nothing comes of it.
                await self._reload(self._cause)
                continue
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
            self._tell_refused(cause, error.problems)
            return
        except Exception as error:  # noqa: BLE001  what runs is sound, and goes on
            self._tell_refused(cause, [f"a bug of ours: {error!r} at {raised_at(error)}"])
            return
        for warning in plan.warnings:
            if warning not in self._warned:
                self._log.emit("configuration_warned", warning=warning)
        self._warned = frozenset(plan.warnings)
        renewed = await self._take(plan)
        taken = [each for each in plan.changes if each.takes is not Takes.RESTART]
        changed = [each.text for each in taken]
        needs_restart = [each.key for each in plan.changes if each.takes is Takes.RESTART]
        if cause != SIGNAL and not changed and not renewed and self._is_known(needs_restart):
            return  # The file was touched, or read already when a signal asked for it.
        self._counters.reloads[ReloadOutcome.TAKEN] += 1
        self.facts = ReloadFacts(
            at=rfc3339(clock.unix_s()),
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

    def _is_known(self, needs_restart: list[str]) -> bool:
        before = self.facts
        if before is None:
            return not needs_restart
        is_taken = before.outcome is ReloadOutcome.TAKEN
        return is_taken and list(before.needs_restart) == needs_restart

    def _try_again_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._retry = loop.call_later(RETRY_S, self.ask, RETRY)

    def _tell_refused(self, cause: str, problems: Sequence[str]) -> None:
        # What it lacks may come, and nobody watches a file that no running configuration names.
        self._try_again_later()
        if cause == RETRY and self.facts is not None and self.facts.problems == tuple(problems):
            return
        self._counters.reloads[ReloadOutcome.REFUSED] += 1
        self.facts = ReloadFacts(
            at=rfc3339(clock.unix_s()),
            cause=cause,
            outcome=ReloadOutcome.REFUSED,
            needs_restart=() if self.facts is None else self.facts.needs_restart,
            problems=tuple(problems),
        )
        self._log.emit(
            "reload_refused",
            cause=cause,
            config_path=str(self._config_path),
            problems=list(problems),
        )

    def _prepare(self) -> Plan:
        """Do everything that may fail; blocking, so in a thread.

        Raises:
            ConfigError: The file, or one that it names, cannot be used.
        """
        self._await_rest()
        loaded = self._load()
        wanted = loaded.config
        config = merge(self._config, wanted)
        _check_together(config, wanted)
        # Looked at before they are read: what changes meanwhile is a change for the next time.
        plan = Plan(
            config=config,
            changes=changes_between(self._config, wanted),
            looks=self._look_at(config),
            warnings=loaded.warnings,
        )
        takes = {each.takes for each in plan.changes}
        changed = {side for side, looks in plan.looks.items() if looks != self._looks[side]}
        if Takes.LIVE in takes or Side.RULES in changed:
            plan.decoding = decoding_of(config)
        if Takes.MQTT_RECONNECT in takes or Side.MQTT in changed:
            plan.is_mqtt_due = True
            _try_mqtt(config, self._environment)
        if Takes.KAFKA_RECONNECT in takes or Side.KAFKA in changed:
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
        if look is not None and look.size == 0 and self._config_path.is_file():
            where = f"config file {quoted_path(self._config_path)}"
            raise ConfigError([f"{where} is empty; write the configuration into it"])

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
        if plan.successor is not None and await self._renew_kafka(plan, plan.successor):
            renewed.append("kafka")
        self._config = plan.config
        self._looks = plan.looks
        self._on_taken(plan.config)
        return renewed

    async def _renew_kafka(self, plan: Plan, successor: Handle) -> bool:
        problem = await self._kafka.take(plan.config, successor, plan.kafka_failure)
        if not problem:
            return True
        self._log.emit("kafka_renewal_failed", error=problem, retry_in_s=RETRY_S)
        plan.config = structs.replace(plan.config, kafka=self._config.kafka)
        plan.changes = [each for each in plan.changes if each.takes is not Takes.KAFKA_RECONNECT]
        plan.looks = {**plan.looks, Side.KAFKA: self._looks[Side.KAFKA]}
        self._try_again_later()
        return False

    def close(self) -> None:
        """Ask for nothing more, and leave the links as they are."""
        self._kafka.close()
        if self._retry is not None:
            self._retry.cancel()


def _check_together(config: BridgeConfig, wanted: BridgeConfig) -> None:
    """See that what is taken now goes with what stays until a restart.

    Raises:
        ConfigError: It does not, though the file is right.
    """
    problems = [] if config == wanted else problems_of(config)
    if problems:
        why = "what can be taken now does not go with what waits for a restart; restart instead"
        raise ConfigError([f"{problem} ({why})" for problem in problems])


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
