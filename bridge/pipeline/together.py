"""Packets in their order: what is usual goes together, all else one by one.

Whether messages go together is seen in nothing but the time it takes: `usual.py` reads those that
pass layers 1 and 2 as they nearly all do, and what it does not read is carried by itself.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final, cast

from bridge.fleet.dedup_window import Knowledge
from bridge.fleet.duplicates import Duplicates
from bridge.kafka.record import Instant
from bridge.mqtt.packets import Inbound, Publish
from bridge.pipeline.enrich import NO_PROPERTIES, Identity
from bridge.pipeline.identity import Address, AddressBook
from bridge.pipeline.judge import NO_FLAGS
from bridge.pipeline.roll import Carried
from bridge.pipeline.usual import Usual, are_plain, decode_all, read_usual, write_usual
from bridge.pipeline.validate import TimeBounds
from bridge.pipeline.verdict import Duplicate, Said

if TYPE_CHECKING:
    from bridge.pipeline.flow import Flow

TOGETHER: Final = 64
"""Messages at once: more of them no longer fit the caches of a core, fewer cost more calls."""
PART: Final = 16
"""Where one of them is not usual, so many are tried again; then one by one."""
APART: Final = 4
"""So few are carried one by one: nothing is saved by looking at them together."""
SECOND_READING: Final = "idempotency_id_repeated"
"""The warning on a message whose device and id are known with another content."""


class Together:
    """Carry packets, as many at once as will go."""

    def __init__(self, addresses: AddressBook, duplicates: Duplicates, way: "Flow") -> None:
        """`way` carries one packet alone, and says of many what there is to say."""
        self._addresses = addresses
        self._duplicates = duplicates
        self._way = way

    def carry(
        self, packets: Sequence[Inbound], received: Instant, bounds: TimeBounds
    ) -> list[Carried]:
        """Carry packets; a fault of ours costs one message a detour, as in `Flow.carry`."""
        carried: list[Carried] = []
        for start in range(0, len(packets), TOGETHER):
            some = packets[start : start + TOGETHER]
            try:
                addresses = [self._addresses[each.topic] for each in some]
                flags = are_plain(some, addresses)
            except Exception:  # noqa: BLE001 - a fault of ours: who carries one alone tells of it
                carried += [self._way.carry(each, received) for each in some]
                continue
            if all(flags):
                plain = cast("Sequence[Publish]", some)
                carried += self._carry_plain(plain, addresses, received, bounds)
                continue
            rows = zip(flags, some, addresses, strict=True)
            for is_plain, run in groupby(rows, itemgetter(0)):
                _, run_packets, run_addresses = zip(*run, strict=True)
                if is_plain:
                    carried += self._carry_plain(run_packets, run_addresses, received, bounds)
                else:
                    carried += [self._way.carry(each, received) for each in run_packets]
        return carried

    def _carry_plain(
        self,
        packets: Sequence[Publish],
        addresses: Sequence[Address],
        received: Instant,
        bounds: TimeBounds,
    ) -> list[Carried]:
        """Carry what is usual as far as can be told without decoding it."""
        if len(packets) < APART or not bounds.is_judged:
            return [self._way.carry(each, received) for each in packets]
        try:
            messages = decode_all(packets)
            usual = read_usual(messages, packets, addresses, received.unix_us, bounds)
        except Exception:  # noqa: BLE001 - as above
            return [self._way.carry(each, received) for each in packets]
        if usual is not None:
            return self._carry_usual(usual, received)
        carried: list[Carried] = []
        for start in range(0, len(packets), PART):
            part = slice(start, start + PART)
            some = messages[part], packets[part], addresses[part]
            usual = read_usual(*some, received.unix_us, bounds)
            if usual is not None:
                carried += self._carry_usual(usual, received)
            else:
                # Decoded once: one that is bad in each part would else make all of them dear.
                one = self._way.carry_message
                carried += [
                    one(message, packet, address, NO_PROPERTIES, received)
                    for message, packet, address in zip(*some, strict=True)
                ]
        return carried

    def _carry_usual(self, usual: Usual, received: Instant) -> list[Carried]:
        """Ask of each message, in order, and write those together of which nothing is said."""
        carried = self._ask_all(usual, received)
        some = usual
        fresh: Sequence[int] = range(len(carried))
        if carried.count(None) != len(carried):
            fresh = [place for place, each in enumerate(carried) if each is None]
            some = usual.only(fresh)
        try:
            records = write_usual(some, received)
        except Exception:  # noqa: BLE001 - a fault of ours: who carries it alone tells of it
            for place in fresh:
                carried[place] = self._carry_said(NO_FLAGS, usual, place, received)
            for place, packet in enumerate(usual.packets):
                if _waits_for(carried[place], set(some.keys)):
                    carried[place] = self._way.carry(packet, received)
        else:
            if some is usual:
                return list(zip(usual.telemetries, records, strict=True))
            for place, verdict, record in zip(fresh, some.telemetries, records, strict=True):
                carried[place] = (verdict, record)
        return cast("list[Carried]", carried)

    def _ask_all(self, usual: Usual, received: Instant) -> list[Carried | None]:
        """Ask of all at once where all are new: then none depends on what is said of another."""
        knowledge = self._duplicates.judge_all(usual.keys)
        if knowledge.count(Knowledge.NEW) == len(knowledge):
            try:
                said = self._way.ask_all(usual.telemetries, usual.addresses, received)
            except Exception:  # noqa: BLE001 - as below
                said = None
            if said is not None:
                if not any(said):
                    return [None] * len(said)
                return [
                    self._carry_said(each, usual, place, received) if each else None
                    for place, each in enumerate(said)
                ]
        self._duplicates.take_back(usual.keys, knowledge)
        return [self._ask(usual, place, received) for place in range(len(usual.keys))]

    def _ask(self, usual: Usual, place: int, received: Instant) -> Carried | None:
        """Carry one message of which something is said, or which is known; None, it is fresh."""
        verdict, key = usual.telemetries[place], usual.keys[place]
        knowledge = self._duplicates.judge(key)
        if knowledge is Knowledge.SAME or knowledge is Knowledge.UNDER_WAY:
            return verdict, Duplicate(key, knowledge is Knowledge.UNDER_WAY)
        if knowledge is Knowledge.OTHER_CONTENT:
            verdict.warnings = [SECOND_READING]
        try:
            said = self._way.ask(verdict, usual.addresses[place], received)
        except Exception:  # noqa: BLE001 - as above
            self._duplicates.abandon(key)
            return self._way.carry(usual.packets[place], received)
        return self._carry_said(said, usual, place, received) if said else None

    def _carry_said(self, said: Said, usual: Usual, place: int, received: Instant) -> Carried:
        return self._way.carry_said(
            said,
            usual.telemetries[place],
            Identity(usual.headers[place], usual.keys[place]),
            usual.packets[place],
            usual.addresses[place],
            NO_PROPERTIES,
            received,
        )


def _waits_for(carried: Carried | None, keys: set[bytes]) -> bool:
    """Tell whether it was to wait for one of these, which may not be."""
    return carried is not None and type(carried[1]) is Duplicate and carried[1].key in keys
