"""The linger follows the pace of the records: another producer takes over, since none can change.

librdkafka reads its configuration once. So a second producer is built and tried beside the first,
which goes on meanwhile; once the first has delivered what it had, some ten milliseconds in which
records wait, the second goes on. Nothing but CPU hangs on it: where it does not come about in a
moment, all is as it was, and it is tried again later.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from bridge.errors import ConfigError
from bridge.kafka.pace import Pace
from bridge.kafka.properties import LINGER
from bridge.observe.log import EventLog
from bridge.runtime import clock
from bridge.runtime.kafka_producer import Properties
from bridge.runtime.kafka_renewal import MOMENT_S, KafkaRenewal
from bridge.runtime.parts import Parts

TRY_TIMEOUT_S: Final = 2.0
"""How long Kafka may take to answer the second producer."""
AGAIN_S: Final = 60.0
"""When a change that did not come about is tried again."""


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
        self._again_s = float("-inf")

    def tick(self, now_s: float) -> None:
        """See how fast records went since the last call, and begin a change if one is due."""
        parts = self._parts
        linger_ms = self._pace.note(
            parts.producer.records_sent, window=parts.session.ledger.most_owed, now_s=now_s
        )
        if linger_ms == parts.producer.properties[LINGER] or parts.is_linger_fixed:
            return
        is_quiet = parts.traffic.is_released and not parts.outbox.is_sealed
        if is_quiet and now_s >= self._again_s and not self._renewal.turn.locked():
            self._again_s = now_s + AGAIN_S  # Unless it comes about.
            task = asyncio.get_running_loop().create_task(self._change(linger_ms), name="pacing")
            self._on_task(task)
            self._task = task

    async def _change(self, linger_ms: int) -> None:
        async with self._renewal.turn:
            began_s = clock.monotonic_s()
            properties = {**self._parts.kafka_properties, LINGER: linger_ms}
            problem = await self._follow(properties)
        rate = round(self._pace.records_per_s)
        if problem:
            self._log.emit(
                "kafka_linger_kept",
                linger_ms=self._parts.producer.properties[LINGER],
                records_per_s=rate,
                error=problem,
                retry_in_s=AGAIN_S,
            )
            return
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
        try:
            successor = await asyncio.to_thread(producer.prepare, properties)
        except ConfigError as error:
            return "; ".join(error.problems)
        failure = await asyncio.to_thread(successor.try_it, timeout_s=TRY_TIMEOUT_S)
        if failure is not None:
            successor.let_go()
            return failure
        if self._parts.outbox.is_sealed:
            successor.let_go()
            return "the producer was replaced meanwhile"
        if await self._renewal.take_soon(successor):
            return ""
        return f"the producer has not delivered all its records within {MOMENT_S:g} s"

    async def close(self) -> None:
        """Begin no more changes, and end one that is under way."""
        self._again_s = float("inf")
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
