"""How loaded the way to Kafka is, and what is shed for it; `bridge.spool.shedding` decides."""

from collections.abc import Sequence
from typing import Final

from bridge.kafka.outbox import Outbox
from bridge.kafka.record import Record
from bridge.kafka.shipment import Settleable
from bridge.mqtt.session import Session
from bridge.observe.counters import Counters
from bridge.observe.log import EventLog
from bridge.observe.shedding_facts import SheddingFacts
from bridge.runtime.importances import Importances
from bridge.runtime.spooling import Spooling
from bridge.spool.shedding import Shedding

DRAIN_MIN: Final = 1 / 16
"""Share of the room below which it is not worth a turn of the disk to read rows."""


class LoadShedder:
    """Look at the load, and tell of each record whether it is shed.

    Invariant: what is shed was not handed to Kafka, and goes to the disk before its PUBACK; unless
    the operator wants it dropped.
    """

    def __init__(  # noqa: PLR0913 - all named
        self,
        rules: Shedding,
        *,
        importances: Importances,
        may_drop: bool,
        session: Session,
        outbox: Outbox,
        spooling: Spooling,
        counters: Counters,
        log: EventLog,
    ) -> None:
        self._rules = rules
        self._importances = importances
        self._may_drop = may_drop
        self._session = session
        self._outbox = outbox
        self._spooling = spooling
        self._counters = counters
        self._log = log
        self._since_s: float | None = None
        """When it began; None while nothing is shed."""
        self._shed_before = 0
        self._waiting = 0
        self._is_window_kept = True
        """The MQTT broker never had more open than it may."""
        self.learn()

    def learn(self) -> None:
        """Learn anew which priorities there are: the registry changed."""
        self._rules.protect(self._importances.classes())

    # ------------------------------------------------------------------ what is asked

    @property
    def is_shedding(self) -> bool:
        """True while anything is shed."""
        return bool(self._rules.shed)

    @property
    def is_dropping(self) -> bool:
        """True while what is shed is to be dropped."""
        return self._may_drop and bool(self._rules.shed)

    @property
    def room(self) -> int:
        """How many records may be under way: what the MQTT broker and we ourselves allow."""
        return min(self._session.settings.receive_maximum, self._outbox.unsettled.records_max)

    @property
    def drain_max(self) -> int | None:
        """How many rows may leave the spool now; None where nothing is ever shed."""
        if not self._rules.is_on:
            return None
        share = self._rules.drain_room
        return max(1, int(share * self._room_left)) if share >= DRAIN_MIN else 0

    def facts(self) -> SheddingFacts:
        """Tell how it stands."""
        return SheddingFacts(level=self._rules.level, load=self._rules.load)

    def takes(self, record: Record) -> bool:
        """Tell whether a record is shed, and count it."""
        importance = self._importances.of_record(record.kafka_topic, record.key)
        if importance not in self._rules.shed:
            return False
        self._counters.shed[importance.name.lower()] += 1
        return True

    # ------------------------------------------------------------------ what is done

    def look(self, now: float, *, waiting: int = 0) -> None:
        """Take the load of now; after each batch, and after each round of reports.

        `waiting` messages are not judged yet: they are in the window of the MQTT broker, and no
        load for Kafka.
        """
        rules, self._waiting = self._rules, waiting
        if len(self._session.ledger) > self._session.settings.receive_maximum:
            self._is_window_kept = False
        if rules.is_on and rules.look(self._load(), now, is_behind=self._is_behind()):
            self._tell(now)

    @property
    def _room_left(self) -> int:
        """Count the room without what is safe already and only waits for its turn to be PUBACKed.

        PUBACKs keep their order: what went to the disk stays in the window of the MQTT broker until
        Kafka has what came before it. Not taken into account, a full window would be half a load
        once half of what comes is shed, and the rest of it would never be. Mosquitto (2.0.11) sends
        more than it may; then what waits for its turn keeps nothing else out.
        """
        if not self._is_window_kept:
            return self.room
        in_turn = len(self._session.ledger) - self._waiting - self._outbox.unsettled.records
        return max(1, self.room - max(0, in_turn))

    def _is_behind(self) -> bool:
        """Tell whether more of the class that is to go direct next rests on disk than passes by.

        A topic of which something is stuck is left out: it may stay there for long, and not because
        Kafka takes too little.
        """
        importance = self._rules.next_back
        if importance is None:
            return False
        few = int(DRAIN_MIN * self.room)
        return any(
            rows > few and self._importances.of_topic(kafka_topic) is importance
            for kafka_topic, rows in self._spooling.machine.rows_able_to_leave.items()
        )

    def _load(self) -> float:
        """Tell how much of the room is used by what Kafka was handed and has not confirmed.

        A batch is one PUBLISH and many records, so the window is used by the fewer of the two. What
        is stuck waits for its own partition, on disk or, where that is full, in memory: it is
        nobody else's load, and counted as one it kept the rows of all others on the full disk.
        """
        outbox, machine, unsettled = self._outbox, self._spooling.machine, self._outbox.unsettled
        owed, stuck = unsettled.records - self._spooling.waiting_records, machine.stuck
        drained = max(0, len(outbox) - owed - stuck.rows)
        direct = owed - stuck.unwritten
        handed_bytes = unsettled.bytes - self._spooling.waiting_bytes + machine.flight_bytes
        handed_bytes -= stuck.unwritten_bytes
        return max(
            (min(direct, len(self._session.ledger)) + drained) / self._room_left,
            (direct + drained) / unsettled.records_max,
            handed_bytes / unsettled.bytes_max,
        )

    def _tell(self, now: float) -> None:
        rules, shed = self._rules, sum(self._counters.shed.values())
        if self._since_s is None:
            self._since_s, self._shed_before = now, shed
        if rules.level:
            self._log.emit(
                "shedding_changed",
                priorities=[each.name.lower() for each in sorted(rules.shed)],
                load=round(rules.load, 2),
                action="drop" if self._may_drop else "spool",
            )
            return
        self._log.emit(
            "shedding_ended",
            records=shed - self._shed_before,
            took_s=round(now - self._since_s, 1),
            load=round(rules.load, 2),
        )
        self._since_s = None

    def split(
        self, records: list[Record], receipts: Sequence[Settleable | None]
    ) -> tuple[list[Record], Sequence[Settleable | None], list[tuple[Record, Settleable | None]]]:
        """Take out what is to be dropped: what is shed, and is no dead letter.

        The copies of a message follow it, and go with it: `dlq.copy` says that it was forwarded.
        """
        kept: list[Record] = []
        kept_receipts: list[Settleable | None] = []
        dropped: list[tuple[Record, Settleable | None]] = []
        is_dropped = False
        for record, receipt in zip(records, receipts, strict=True):
            letter = record.dead_letter
            if letter is None or not letter.is_copy:
                is_dropped = letter is None and self.takes(record)
                if is_dropped:
                    dropped.append((record, receipt))
            if not is_dropped:
                kept.append(record)
                kept_receipts.append(receipt)
        return kept, kept_receipts, dropped
