"""The linger follows the pace of the records: another producer takes over, since none can change.

librdkafka reads its configuration once. So a second producer is built and tried beside the first,
which goes on meanwhile; once the first has delivered what it had, some ten milliseconds in which
records wait, the second goes on. Nothing but CPU hangs on it: where it does not come about in a
moment, all is as it was, and it is tried again later.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from bridge.config.librdkafka_properties import LINGER
from bridge.errors import ConfigError
from bridge.kafka.pace import CALM_LINGER_MS, Pace
from bridge.kafka.properties import Properties
from bridge.observe.log import EventLog
from bridge.runtime import clock
from bridge.runtime.kafka_handle import Handle
from bridge.runtime.kafka_renewal import MOMENT_S, KafkaRenewal
from bridge.runtime.parts import Parts

TRY_TIMEOUT_S: Final = 1.0
"""How long Kafka may take to answer the second producer."""
AGAIN_S: Final = 10.0
"""When a change that did not come about is tried again; later each time,"""
AGAIN_MAX_S: Final = 3_600.0
"""and each hour in the end."""


class Pacing:
    """Change the linger when the pace asks for it; call `tick` each second or so."""

    def __init__(
        self,
        parts: Parts,
        renewal: KafkaRenewal,
        log: EventLog,
        *,
        on_task: Callable[["asyncio.Task[None]"], None],
    ) -> None:
        self._parts = parts
        self._renewal = renewal
        self._log = log
        self._on_task = on_task
        self._pace = Pace()
        self._task: asyncio.Task[None] | None = None
        self._pause_s = AGAIN_S
        self._again_s = float("-inf")
        self._is_closed = False

    def tick(self, now_s: float) -> None:
        """See how fast records went since the last call, and begin a change if one is due."""
        parts = self._parts
        self._pace.note(
            parts.producer.records_sent, window=parts.session.ledger.most_owed, now_s=now_s
        )
        if not self._is_due() or now_s < self._again_s or self._renewal.turn.locked():
            return
        self._again_s = now_s + self._pause_s  # Unless it comes about.
        self._task = asyncio.get_running_loop().create_task(self._change(), name="pacing")
        self._on_task(self._task)

    def _is_due(self) -> bool:
        """Tell whether another linger would suit, and nothing is in its way that can be known."""
        parts = self._parts
        machine, pace = parts.spooling.machine, self._pace
        return (
            not (self._is_closed or parts.is_linger_fixed)
            and parts.producer.properties[LINGER] != pace.linger_ms
            and (pace.is_fast or pace.linger_ms == CALM_LINGER_MS)
            and parts.traffic.is_released
            and not parts.outbox.is_sealed
            and not parts.outbox.held_topics
            and not (machine.silent_topics or machine.stuck_topics or machine.closed_topics)
        )

    async def _change(self) -> None:
        async with self._renewal.turn:
            if not self._is_due():
                return  # A reload was faster.
            began_s = clock.monotonic_s()
            linger_ms = self._pace.linger_ms
            problem = await self._follow({**self._parts.kafka_properties, LINGER: linger_ms})
        rate = round(self._pace.records_per_s)
        if problem:
            self._log.emit(
                "kafka_linger_kept",
                linger_ms=self._parts.producer.properties[LINGER],
                records_per_s=rate,
                error=problem,
                retry_in_s=self._pause_s,
            )
            self._pause_s = min(2 * self._pause_s, AGAIN_MAX_S)
            return
        self._pause_s = AGAIN_S
        self._again_s = float("-inf")
        self._log.emit(
            "kafka_linger_changed",
            linger_ms=linger_ms,
            records_per_s=rate,
            took_s=round(clock.monotonic_s() - began_s, 3),
        )

    async def _follow(self, properties: Properties) -> str:
        """Build a producer and use it; return why not, or nothing."""
        producer = self._parts.producer
        generation = producer.generation
        try:
            successor = await self._make(properties)
        except ConfigError as error:
            return "; ".join(error.problems)
        if isinstance(successor, str):
            return successor
        if producer.generation != generation or self._parts.outbox.is_sealed:
            successor.let_go()
            return "the producer was replaced meanwhile"
        if await self._renewal.take_soon(successor):
            return ""
        return f"the producer has not delivered all its records within {MOMENT_S:g} s"

    async def _make(self, properties: Properties) -> Handle | str:
        """Build a producer in a thread and try it; return it, or why Kafka did not answer it.

        Raises:
            ConfigError: librdkafka does not accept the properties, or cannot read a file.
        """
        producer = self._parts.producer

        def make() -> Handle | str:
            successor = producer.prepare(properties)
            failure = successor.try_it(timeout_s=TRY_TIMEOUT_S)
            if failure is None:
                return successor
            successor.let_go()
            return failure

        made = asyncio.get_running_loop().run_in_executor(None, make)
        try:
            return await asyncio.shield(made)
        except asyncio.CancelledError:
            made.add_done_callback(_let_go)  # The thread goes on, and nobody waits for it.
            raise

    async def close(self) -> None:
        """Begin no more changes, and end one that is under way."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


def _let_go(made: "asyncio.Future[Handle | str]") -> None:
    if made.cancelled() or made.exception() is not None:
        return
    handle = made.result()
    if isinstance(handle, Handle):
        handle.let_go()
