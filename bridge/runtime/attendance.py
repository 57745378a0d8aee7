"""Who is heard, who fell silent, whose clock is wrong: the fleet over time, as the bridge hears it.

Theory of operation. `note` is told each batch, once, and does no more than write down; `tick`, each
second, looks for who is missing. What is silence and what is only that nobody could hear is told
apart in four ways:

- While the caller says that nothing can be heard (not subscribed, reading paused, a backlog that
  fills the window, records that nobody takes) no time passes for the devices. Twice running it has
  to say so: a full window for a moment is nothing, and each time would allow everybody one more
  interval.
- Time is proven by what came: a sweep reaches no further than the last packet of the MQTT broker,
  an answer to our ping at least, and one tick less, so that what came with it was read. A broker
  that is frozen, or a link that is dead and not known to be, thus never makes a device silent.
  After a longer pause of the MQTT broker what it kept comes first, so a sweep waits a while.
- Where a link turns out to be dead, the time since then is taken back.
- So is the time in which our own loop did not turn.

While a backlog drains faster than it grew, each device is heard more often than it spoke; so of a
backlog that is not seen as one nothing false comes either.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from bridge.fleet.drift import Drifts
from bridge.fleet.host_clock import HostClock
from bridge.fleet.silence import Silence
from bridge.fleet.talkers import Kind, Talkers
from bridge.kafka.record import Instant, Record
from bridge.pipeline.roll import Roll
from bridge.runtime.alert_records import AlertRecords
from bridge.runtime.clock import Clock
from bridge.runtime.fleet_narrator import FleetNarrator
from bridge.runtime.kernel_clock import KernelClock

LATE_S: Final = 3.0
"""A tick that comes so long after the one before it: the loop stood still."""
SETTLE_MAX_S: Final = 10.0
"""A broker that said nothing for longer than `LATE_S` may have been frozen: for as long, so much
at most, it may take until all is read that devices sent meanwhile."""
SWEEP_BUDGET: Final = 1_000
"""Devices of a slice, or a fifth of them told at 16 us each (measured): 4 ms."""
_FORGET_AT_ONCE: Final = 5_000
_S_PER_US: Final = 1e-6


class Attendance:
    """Feed the machines of the fleet, and tell what they find.

    Invariant: nothing here can hold a message, and a slice of a sweep never holds the loop for
    more than 10 ms.
    """

    def __init__(  # noqa: PLR0913 - all named, the machines that it feeds
        self,
        *,
        silence: Silence | None,
        clock_offset_max_s: float,
        host: HostClock,
        narrator: FleetNarrator,
        clock: Clock,
        ask_kernel: Callable[[], KernelClock | None],
        on_trust: Callable[[bool], None],
        on_bug: Callable[[Exception], None],
    ) -> None:
        """Without `silence` nobody is ever silent; `on_trust` is told whether our clock is."""
        now = clock.monotonic_s()
        self.roll = Roll()
        self.silence = silence
        self.host = host
        self.drifts = Drifts(offset_max_s=clock_offset_max_s, on_offset=self._note_offset)
        self.talkers = Talkers(now_s=now)
        self.is_hearing = False
        self._narrator = narrator
        self._clock = clock
        self._ask_kernel = ask_kernel
        self._on_trust = on_trust
        self._on_bug = on_bug
        self._now_s = now
        """Of the batch that is noted."""
        self._ticked_s: float | None = None
        self._deaf_since_s: float | None = None
        self._proven_s: float | None = None
        self._settled_at_s = now
        """Before it nobody is looked for."""
        self._is_sweeping = False
        self._to_forget: list[bytes] = []

    @property
    def alerts(self) -> AlertRecords:
        """What is told, on its way to Kafka."""
        return self._narrator.records

    # ------------------------------------------------------------------ what is heard

    def note(self, records: Sequence[Record], received: Instant) -> None:
        """Take the roll of a batch, and the records that were made of it. Never raises."""
        try:
            if self.roll.fault is not None:
                self._narrator.tell_fault(self.roll.fault)
            self._note(records, received)
        except Exception as error:  # noqa: BLE001 - the messages are to go on
            self._narrator.tell_fault(error)
        self.roll.clear()

    def _note(self, records: Sequence[Record], received: Instant) -> None:
        roll, now_s = self.roll, received.monotonic_s
        self._now_s = now_s
        if roll.devices:
            self.talkers.note(Kind.MESSAGES, roll.devices, now_s)
            self._note_drifts(received)
        if self.silence is not None:
            self._hear(self.silence, now_s)
        errors = [
            record.key
            for record in records
            if record.is_flagged
            or (record.dead_letter is not None and not record.dead_letter.is_copy)
        ]
        if errors:
            self.talkers.note(Kind.ERRORS, errors, now_s)

    def _note_drifts(self, received: Instant) -> None:
        unix_us, now_s, roll = received.unix_us, received.monotonic_s, self.roll
        host = self.host
        if not host.is_kept:
            host.note(
                (
                    (device, (unix_us - measured_us) * _S_PER_US)
                    for device, measured_us in zip(roll.devices, roll.measured_us, strict=True)
                    if measured_us is not None
                ),
                now_s,
            )
        if host.doubt is not None:
            return
        for fact in self.drifts.note_all(roll.devices, roll.measured_us, unix_us, now_s):
            self._narrator.tell_clock(fact)

    def _note_offset(self, device: bytes, offset_s: float) -> None:
        self.talkers.note_offset(device, offset_s, self._now_s)

    def _hear(self, silence: Silence, now_s: float) -> None:
        roll, tell = self.roll, self._narrator.tell
        if not roll.presences:
            for fact in silence.heard(roll.devices, now_s, roll.measured_us):
                tell(fact)
            return
        begun, own_us = 0, roll.measured_us
        for presence in roll.presences:
            some = slice(begun, presence.after)
            for fact in silence.heard(roll.devices[some], now_s, own_us[some]):
                tell(fact)
            begun = presence.after
            for fact in silence.presence(
                presence.device,
                is_online=presence.is_online,
                now_s=now_s,
                is_retained=presence.is_retained,
            ):
                tell(fact)
        for fact in silence.heard(roll.devices[begun:], now_s, own_us[begun:]):
            tell(fact)

    # ------------------------------------------------------------------ what is known besides

    def registry_changed(self, gone: Iterable[str]) -> None:
        """Ask the registry anew; who is no longer in it is expected by nobody."""
        if self.silence is not None:
            self._to_forget += [device_id.encode() for device_id in gone]
            self.silence.registry_changed()

    def link_lost(self, last_heard_s: float | None) -> None:
        """Note that the connection is gone, and when the MQTT broker was last heard of."""
        self.is_hearing = False
        self._proven_s = None
        if self.silence is not None:
            now = self._clock.monotonic_s()
            self.silence.was_deaf(now if last_heard_s is None else last_heard_s, now)
            self.silence.deaf(now)

    # ------------------------------------------------------------------ each second

    def look_at_host(self) -> None:
        """Judge the host's own clock; before the first message, too."""
        kernel = self._ask_kernel()
        is_changed = self.host.look(
            unix_s=self._clock.instant().unix_us * _S_PER_US,
            is_kept=None if kernel is None else kernel.is_kept,
            now_s=self._clock.monotonic_s(),
        )
        if is_changed:
            self._on_trust(self.host.doubt is None)
            self._narrator.tell_host(self.host)

    def tick(self, *, can_hear: bool, last_heard_s: float | None) -> None:
        """Look for who is missing: `can_hear` says whether a message of now would be read.

        `last_heard_s` is when anything came from the MQTT broker.
        """
        self.look_at_host()
        now = self._clock.monotonic_s()
        self.alerts.serve(now)
        if self.silence is None:
            return
        self._mind_the_loop(self.silence, now)
        self._listen(self.silence, now, can_hear=can_hear)
        self._forget(self.silence)
        is_settled = now >= self._settled_at_s
        if self.is_hearing and self._proven_s is not None and is_settled and not self._is_sweeping:
            self._sweep(self.silence, self._proven_s)
        if can_hear and last_heard_s is not None:
            self._prove(last_heard_s, now)

    def _prove(self, last_heard_s: float, now: float) -> None:
        pause_s = 0.0 if self._proven_s is None else last_heard_s - self._proven_s
        if pause_s > LATE_S:
            self._settled_at_s = now + min(pause_s, SETTLE_MAX_S)
        if self._proven_s is None or pause_s > 0:
            self._proven_s = last_heard_s

    def _mind_the_loop(self, silence: Silence, now: float) -> None:
        ticked_s, self._ticked_s = self._ticked_s, now
        if ticked_s is not None and now - ticked_s > LATE_S:
            silence.was_deaf(ticked_s, now)

    def _listen(self, silence: Silence, now: float, *, can_hear: bool) -> None:
        if can_hear:
            self._deaf_since_s = None
            if not self.is_hearing:
                self.is_hearing = True
                self._proven_s = now  # Nothing is proven of the time before.
                silence.hearing(now)
        elif self._deaf_since_s is None:
            self._deaf_since_s = now
        elif self.is_hearing:
            self.is_hearing = False
            silence.was_deaf(self._deaf_since_s, now)
            silence.deaf(now)

    def _forget(self, silence: Silence) -> None:
        for device in self._to_forget[:_FORGET_AT_ONCE]:
            silence.forget(device)
        del self._to_forget[:_FORGET_AT_ONCE]

    def _sweep(self, silence: Silence, at_s: float) -> None:
        """Look at a slice; the loop turns before the next."""
        try:
            swept = silence.sweep(at_s, SWEEP_BUDGET)
            ago_s = self._clock.monotonic_s() - at_s
            for fact in swept.facts:
                self._narrator.tell(fact, ago_s=ago_s)
        except Exception as error:  # noqa: BLE001  a callback of the loop: it would only be logged
            self._is_sweeping = True
            self._on_bug(error)
            return
        self._is_sweeping = not swept.is_done
        if self._is_sweeping:
            self._clock.call_later(0.0, partial(self._sweep, silence, at_s))
