"""A stop that loses nothing, step by step.

In order: read nothing more; say `offline`; wait until Kafka has confirmed what is held, within the
budget; put on disk what it has not; PUBACK what is safe; DISCONNECT, keeping the session; wait for
what is still on its way to Kafka, within what is left. What cannot be put on disk stays
unacknowledged, and comes again after the next start.
"""

import asyncio
import contextlib
from typing import Final

from bridge.errors import ExitCode
from bridge.observe.counters import Outcome
from bridge.observe.log import EventLog
from bridge.runtime import clock
from bridge.runtime.parts import Parts
from bridge.runtime.polling import POLL_MAX_S
from bridge.runtime.systemd import Supervisor

FLUSH_RESERVE_S: Final = 5.0
"""The part of the drain budget kept for PUBACKs, DISCONNECT and letting go."""
SPOOL_TIMEOUT_S: Final = 3.0
"""How long the last transaction may take: within the reserve, before the last PUBACKs."""
ASIDE_TIMEOUT_S: Final = 0.5
CLOSE_TIMEOUT_S: Final = 1.0


class Stopping:
    """Stop the parts of one bridge: `drain`, then `close`, then `tell_stopped`."""

    def __init__(
        self, parts: Parts, *, log: EventLog, supervisor: Supervisor, drain_timeout_s: float
    ) -> None:
        self._parts = parts
        self._counters = parts.books.counters
        self._log = log
        self._supervisor = supervisor
        self._drain_timeout_s = drain_timeout_s
        self._answers_until_s = 0.0
        """Until when answers of Kafka are waited for, once nothing more is sent."""

    async def drain(self, *, is_failed: bool, is_cut_short: asyncio.Event) -> None:
        """Read no more, and bring what is held to Kafka or to the disk.

        After a failure of ours nothing is flushed: what is held is in doubt, and the MQTT broker
        has it still.
        """
        parts, started_s = self._parts, clock.monotonic_s()
        self._log.emit(
            "bridge_stopping",
            cause="failure" if is_failed else "signal",
            in_flight=len(parts.outbox),
            left_waiting=parts.traffic.waiting,
            drain_timeout_s=self._drain_timeout_s,
        )
        parts.link.stop_connecting()
        parts.vitals.is_stopping = True
        self._supervisor.stopping(budget_s=self._drain_timeout_s, status=parts.vitals.summary())
        parts.traffic.stop_reading()
        parts.session.say_offline(now=started_s)
        parts.link.flush()
        if is_failed:
            parts.spooling.halt()
            return
        budget_s = self._drain_timeout_s - FLUSH_RESERVE_S
        is_drained = await parts.traffic.drain(timeout_s=budget_s, is_cut_short=is_cut_short)
        took_s = round(clock.monotonic_s() - started_s, 3)
        if is_drained:
            self._log.emit("drain_finished", took_s=took_s)
        else:
            unsettled = parts.outbox.unsettled.records
            self._log.emit("drain_timed_out", unsettled=unsettled, took_s=took_s)
        await self._finish_spool()
        await self._finish_aside(is_cut_short)
        self._answers_until_s = 0.0 if is_cut_short.is_set() else started_s + budget_s

    async def _finish_spool(self) -> None:
        """Put on disk what Kafka has not confirmed; what cannot be stays with the MQTT broker."""
        spooling, started_s = self._parts.spooling, clock.monotonic_s()
        before = self._counters.spool_rows_written
        is_done = await spooling.finish(timeout_s=SPOOL_TIMEOUT_S)
        machine = spooling.machine
        if not is_done and spooling.is_on:
            self._log.emit(
                "spool_stop_failed",
                error=machine.error or machine.state or "the disk took too long",
                unsettled=self._parts.outbox.unsettled.records,
            )
        if machine.spooled:
            self._log.emit(
                "spool_stopped_with",
                rows=machine.spooled,
                bytes=machine.live_bytes,
                written=self._counters.spool_rows_written - before,
                took_s=round(clock.monotonic_s() - started_s, 3),
            )

    async def _finish_aside(self, is_cut_short: asyncio.Event) -> None:
        """Wait a little for reports of gaps and alerts: what is owed at the end is sent again."""
        parts, ends_s = self._parts, clock.monotonic_s() + ASIDE_TIMEOUT_S
        alerts = parts.fleet.attendance.alerts
        while (parts.gaps.owed or len(alerts)) and parts.watch.answers:
            now = clock.monotonic_s()
            if now >= ends_s:
                return
            alerts.serve(now)
            parts.gaps.tick(parts.session.last_heard)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_MAX_S):
                    await is_cut_short.wait()
                    return
            parts.traffic.serve_guarded()

    async def close(self) -> None:
        """Say what may still be said, and leave both brokers."""
        parts = self._parts
        await parts.gaps.close(parts.session.last_heard)
        parts.session.disconnect(now=clock.monotonic_s())
        await parts.link.close(timeout_s=CLOSE_TIMEOUT_S)
        parts.traffic.close()
        await self._await_answers()
        await parts.recovery.stop(timeout_s=CLOSE_TIMEOUT_S)
        parts.producer.close()

    async def _await_answers(self) -> None:
        """Leave nothing on its way to Kafka that the next start would not find there.

        Rows of the spool may be: they are safe, and so nobody waited for them.
        """
        began_s = clock.monotonic_s()
        left = await asyncio.to_thread(
            self._parts.producer.await_answers, timeout_s=max(0.0, self._answers_until_s - began_s)
        )
        self._parts.producer.tell_kept()
        if left:
            waited_s = round(clock.monotonic_s() - began_s, 3)
            self._log.emit("kafka_answers_missing", records=left, waited_s=waited_s)

    def tell_stopped(self, *, is_failed: bool, uptime_s: float) -> ExitCode:
        """Say where every message went, and whether the sum is right; give the exit code."""
        counters, settled = self._counters, self._counters.settled
        account = {
            "received": counters.received,
            "produced": settled[Outcome.PRODUCED],
            "dead_lettered": settled[Outcome.DEAD_LETTERED],
            "duplicates": settled[Outcome.DUPLICATE],
            "dropped": settled[Outcome.DROPPED],
            "spooled": self._parts.spooling.spooled,
            "spooled_at_start": counters.spooled_at_start,
        }
        in_flight = self._parts.traffic.count_in_flight()
        residue = self._parts.vitals.residue()
        if residue:
            self._log.emit("conservation_broken", residue=residue, in_flight=in_flight, **account)
        self._log.report_suppressed()
        exit_code = ExitCode.BUG if residue or is_failed else ExitCode.OK
        self._log.emit(
            "bridge_stopped",
            received_qos0=counters.received_qos0,
            unsettled=in_flight,
            residue=residue,
            uptime_s=round(uptime_s, 1),
            exit_code=int(exit_code),
            **account,
        )
        return exit_code
