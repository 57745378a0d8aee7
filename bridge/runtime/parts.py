"""The parts of a daemon, made and joined; nothing runs yet."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bridge.config import secrets
from bridge.config.changes import RULE_SECTIONS
from bridge.config.sections import BridgeConfig, Route
from bridge.fleet.registry import Registry
from bridge.kafka.outbox import Outbox
from bridge.kafka.properties import Properties, is_linger_fixed, value_bytes_max
from bridge.kafka.shipment import Unsettled
from bridge.observe.active_devices import ActiveDevices
from bridge.observe.counters import Counters, LatencyHistogram
from bridge.observe.examples import Examples
from bridge.observe.log import EventLog
from bridge.pipeline.allowance import Allowance
from bridge.pipeline.decode import Decoding, decoding_of
from bridge.pipeline.flow import Flow
from bridge.pipeline.policy import Policy
from bridge.pipeline.stages import Stages
from bridge.runtime import clock
from bridge.runtime.accounts import Books
from bridge.runtime.checkpoints import Checkpoints
from bridge.runtime.clock import LoopClock
from bridge.runtime.fleet_parts import FleetParts
from bridge.runtime.gap_finder import GapFinder
from bridge.runtime.gap_records import GapRecords
from bridge.runtime.importances import Importances
from bridge.runtime.kafka_handle import Handle
from bridge.runtime.kafka_narrator import KafkaNarrator
from bridge.runtime.kafka_producer import KafkaProducer, kafka_properties
from bridge.runtime.kafka_watch import KafkaWatch
from bridge.runtime.left_routes import left_behind, recall, remember
from bridge.runtime.mqtt_session import make_session, topic_filters_of
from bridge.runtime.mqtt_transport import LinkObserver, MqttLink
from bridge.runtime.narrator import Narrator
from bridge.runtime.onlookers import Onlookers, make_follow_requests, make_traces
from bridge.runtime.recovery import Recovery
from bridge.runtime.registry_source import RegistrySource, make_registry_source
from bridge.runtime.session_memory import SessionMemory
from bridge.runtime.shadow_part import make_shadow
from bridge.runtime.shedder import LoadShedder
from bridge.runtime.spool_disk import SpoolDisk
from bridge.runtime.spool_narrator import SpoolNarrator
from bridge.runtime.spool_start import is_spool_wanted
from bridge.runtime.spooling import Spooling
from bridge.runtime.state_directory import state_directory
from bridge.runtime.tail_reader import make_duplicates, make_tail_reader, window_of
from bridge.runtime.traffic import Traffic
from bridge.runtime.vitals import Vitals
from bridge.runtime.window_journal import WindowJournal
from bridge.spool.outage import Outage
from bridge.spool.shedding import Shedding


class Parts:
    """Whatever one bridge consists of, and who knows whom."""

    def __init__(  # noqa: PLR0913  whom the parts report to
        self,
        config: BridgeConfig,
        *,
        environment: Mapping[str, str],
        log: EventLog,
        link_observer: LinkObserver,
        on_bug: Callable[[BaseException], None],
        on_task: Callable[["asyncio.Task[None]"], None],
        on_kafka_error: Callable[[str, str], None],
        on_kafka_change: Callable[[], None],
    ) -> None:
        """Make them.

        Raises:
            ConfigError: A secret cannot be read, or librdkafka refuses its configuration.
        """
        mqtt = config.mqtt
        self._config, self._environment = config, environment
        self._on_bug = on_bug
        self._clock = LoopClock(asyncio.get_running_loop())
        self.address = f"{mqtt.host}:{mqtt.port}"
        self.registry = Registry()
        self.books = self._make_books(log)
        self.state = state_directory(mqtt.client_id, environment)
        self._memory = memory = SessionMemory(
            self.state, client_id=mqtt.client_id, address=self.address, log=log
        )
        self._left_routes = recall(memory.now, config)
        remember(memory.now, config, self._left_routes)
        self.session = make_session(config, memory)
        self._properties = properties = kafka_properties(config, environment)
        self.is_linger_fixed = is_linger_fixed(config.kafka)  # As the producer was made.
        self.producer = KafkaProducer(properties, on_error=on_kafka_error)
        self.watch = KafkaWatch(
            self.producer,
            [*(each.kafka_topic for each in config.route), config.dead_letter.kafka_topic],
            last_confirmed_s=lambda: self.traffic.last_confirmed_s,
            on_change=on_kafka_change,
        )
        self.tail = make_tail_reader(config, properties, log)
        self.tail.add(each.kafka_topic for each in self._left_routes)
        self.journal = WindowJournal(
            self.state, window=window_of(config), client_id=mqtt.client_id, log=log
        )
        self.duplicates = make_duplicates(config)
        self.importances = self._make_importances()
        self.fleet = self._make_fleet()
        self.registry_source = self._make_registry_source(log)
        self.outbox = Outbox(Unsettled(mqtt.unsettled_max, mqtt.unsettled_bytes_max))
        self.disk = self._make_disk()
        self.spooling = self._make_spooling()
        self.spool_narrator = SpoolNarrator(
            self.spooling, self.outbox, log, bytes_max=config.spool.bytes_max
        )
        self.shedder = self._make_shedder()
        self._decoding = decoding_of(config, self._left_routes)
        self.shadow = make_shadow(config, self.registry, self._decoding, log)
        self.flow = self._make_flow()
        self.traffic = self._make_traffic()
        self.recovery = self._make_recovery(on_task)
        gap_records = GapRecords(self.producer, config, self.books.counters, log)
        self.gaps = GapFinder(memory, gap_records, log, session_expiry_s=mqtt.session_expiry_s)
        self.narrator = Narrator(
            log, self.books.counters, address=self.address, client_id=mqtt.client_id
        )
        self.link = MqttLink(mqtt, self.session, link_observer, password=self._mqtt_password)
        self.traffic.reading.reader = self.link
        self.vitals = self._make_vitals()
        self.onlookers = self._make_onlookers()

    def _make_books(self, log: EventLog) -> Books:
        return Books(
            Counters(),
            LatencyHistogram(),
            ActiveDevices(now_s=clock.monotonic_s()),
            log,
            types_of=None if self._config.registry is None else self.registry.labels_of,
            examples=Examples() if self._config.ops.examples else None,
        )

    def follow(self, config: BridgeConfig, decoding: Decoding, *, now_s: float) -> None:
        """Judge the next message by another configuration.

        What comes still through a filter that went is carried by the route that it had.
        """
        before, self._config = self._config, config
        self._left_routes = left_behind(config, before.route, self._left_routes)
        remember(self._memory.now, config, self._left_routes)
        self._memory.save()
        self.fleet.follow(config)
        decoding.succeed(self._decoding)
        self._decoding = decoding
        if any(getattr(before, each) != getattr(config, each) for each in RULE_SECTIONS):
            self.shadow = make_shadow(config, self.registry, decoding, self.books.log)
        successor = self._make_flow()
        successor.succeed(self.flow)
        self.flow = self.traffic.flow = successor
        self.vitals.follow(config, self.shadow)
        self.importances.learn(self._routes())
        self.shedder.learn()
        # What is left may be gone in Kafka as well: it is asked for only when a late message
        # comes for it, which then waits and tells.
        current = [each.kafka_topic for each in config.route]
        self.watch.follow([*current, config.dead_letter.kafka_topic])
        self.tail.add(each.kafka_topic for each in self._routes())
        if topic_filters_of(config) != self.session.settings.topic_filters:
            self.session.change_filters(topic_filters_of(config), now=now_s)
            self.link.flush()

    @property
    def kafka_properties(self) -> Properties:
        """What the configuration says of librdkafka; the producer may have another linger."""
        return self._properties

    def renew_kafka(self, config: BridgeConfig, successor: Handle) -> Callable[[], None]:
        """Send what comes to another producer, once this one has delivered what it has.

        Return what goes back to the old one.
        """
        before = self._properties, self.traffic.value_bytes_max, self.is_linger_fixed
        self._config = config
        self._use_kafka(
            successor.properties, value_bytes_max(config.kafka), is_linger_fixed(config.kafka)
        )
        self.producer.hand_over(successor)

        def go_back() -> None:
            self.producer.keep()
            self._use_kafka(*before)

        return go_back

    def _use_kafka(self, properties: Properties, value_max: int, is_fixed: bool) -> None:  # noqa: FBT001
        self._properties = properties
        self.is_linger_fixed = is_fixed
        self.tail.renew(properties)
        self.traffic.value_bytes_max = value_max

    def renew_mqtt(self, config: BridgeConfig) -> None:
        """Connect anew to the MQTT broker, with the same session."""
        self._config = config
        if self.link.renew(config.mqtt):
            self.narrator.note_renewal()

    def _routes(self) -> list[Route]:
        return [*self._config.route, *self._left_routes]

    def _mqtt_password(self) -> str | None:
        """Read the password anew for each connection, so that a renewed file is used."""
        secret = self._config.mqtt.password
        return None if secret is None else secrets.read(secret, self._environment)

    def _make_registry_source(self, log: EventLog) -> RegistrySource | None:
        if self._config.registry is None:
            return None
        return make_registry_source(
            self._config.registry,
            self.registry,
            properties=lambda: self._properties,
            state=self.state,
            log=log,
            on_change=self._on_registry_changed,
        )

    def _make_disk(self) -> SpoolDisk | None:
        spool = self._config.spool
        directory = self.state if spool.directory is None else Path(spool.directory)
        if not is_spool_wanted(directory, spool.bytes_max):
            return None
        return SpoolDisk(
            directory,
            client_id=self._config.mqtt.client_id,
            bytes_max=spool.bytes_max,
            on_bug=self._on_bug,
        )

    def _make_spooling(self) -> Spooling:
        spool = self._config.spool
        machine = Outage(
            after_s=spool.after_s,
            bytes_max=spool.bytes_max,
            group_of=self.watch.group_of,
            importance_of=self.importances.of_topic,
        )
        return Spooling(
            machine,
            self.outbox,
            self.disk,
            counters=self.books.counters,
            clock=self._clock,
            after_s=spool.after_s,
            bytes_max=spool.bytes_max,
        )

    def _make_shedder(self) -> LoadShedder:
        section = self._config.shedding
        may_drop = section.action == "drop"
        shedder = LoadShedder(
            Shedding(low_above=section.low_above, medium_above=section.medium_above),
            importances=self.importances,
            may_drop=may_drop,
            session=self.session,
            outbox=self.outbox,
            spooling=self.spooling,
            counters=self.books.counters,
            log=self.books.log,
        )
        if not may_drop:
            self.spooling.shedder = shedder
        return shedder

    def _on_registry_changed(self, gone: Sequence[str]) -> None:
        self.fleet.registry_changed(gone)
        self.shedder.learn()

    def _make_fleet(self) -> FleetParts:
        return FleetParts(
            self._config,
            registry=self.registry,
            producer=self.producer,
            counters=self.books.counters,
            log=self.books.log,
            clock=self._clock,
            state=self.state,
            on_trust=lambda is_trusted: self.flow.trust_clock(is_trusted=is_trusted),
            on_bug=self._on_bug,
        )

    def _make_flow(self) -> Flow:
        config, limits, routes = self._config, self.fleet.limits, self._routes()
        allowance = None
        if limits is not None:
            allowance = Allowance.of(config.limits, routes, limits)
        return Flow(
            routes=routes,
            dead_letter_topic=config.dead_letter.kafka_topic,
            validation=config.validation,
            entropy=os.urandom,
            duplicates=self.duplicates,
            policy=Policy.of(config.validation, self.registry, allowance),
            stages=Stages(decode=self._decoding.decode),
            roll=self.fleet.attendance.roll,
            traces=self.books.counters.traces,
            shadow=self.shadow,
        )

    def _make_traffic(self) -> Traffic:
        teller = KafkaNarrator(self.books.counters, self.books.log)
        self.producer.on_epoch_bumped = teller.tell_epoch_bumped
        return Traffic(
            flow=self.flow,
            duplicates=self.duplicates,
            session=self.session,
            outbox=self.outbox,
            spooling=self.spooling,
            producer=self.producer,
            journal=self.journal,
            value_bytes_max=value_bytes_max(self._config.kafka),
            books=self.books,
            clock=self._clock,
            on_bug=self._on_bug,
            on_rebuilt=self._on_rebuilt,
            attendance=self.fleet.attendance,
            shedder=self.shedder,
        )

    def _make_recovery(self, on_task: Callable[["asyncio.Task[None]"], None]) -> Recovery:
        checkpoints = Checkpoints(
            self.traffic,
            self.journal,
            ask_ends=self.tail.ask_ends,
            generation=lambda: self.producer.generation,
        )
        return Recovery(
            self.traffic,
            self.tail,
            self.watch,
            self.journal,
            checkpoints,
            on_task=on_task,
            after_s=self._config.spool.after_s,
        )

    def _on_rebuilt(self) -> None:
        self.recovery.on_rebuilt()

    def _make_importances(self) -> Importances:
        config = self._config
        registry = None if config.registry is None else self.registry
        return Importances(self._routes(), config.dead_letter.kafka_topic, registry)

    def _make_onlookers(self) -> Onlookers:
        config, books = self._config, self.books
        requests = make_follow_requests(
            self._routes, books.witnesses, books.log, directory=self.state, clock=self._clock
        )
        traces = make_traces(config, books.counters)
        return Onlookers(books.witnesses, self.producer, requests, traces, books.log)

    def _make_vitals(self) -> Vitals:
        return Vitals(
            self._config,
            session=self.session,
            narrator=self.narrator,
            outbox=self.outbox,
            spooling=self.spooling,
            spool=self.spool_narrator,
            traffic=self.traffic,
            watch=self.watch,
            duplicates=self.duplicates,
            counters=self.books.counters,
            latency=self.books.latency,
            examples=self.books.examples,
            active=self.books.active,
            fleet=self.fleet.view,
            shedding=self.shedder.facts,
            shadow=self.shadow,
        )
