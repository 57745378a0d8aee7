"""A new producer in the place of the old one: with other credentials, and without a gap in order.

Theory of operation. The successor has been tried already. The old producer is given nothing more;
once it has delivered what it had, the successor goes on, so nothing overtakes. Where nothing is
delivered any more there are two cases. The cluster answers the old producer all the same: something
else is in the way, a partition without a leader for instance, and the old one is kept, to be
renewed later. Or it does not: the old credentials may be dead, so the producer is replaced as after
a fatal error, and what it may have sent is looked for in Kafka before any of it is sent again.

A producer that only has another linger follows where that takes a moment, or not at all.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bridge.config.sections import BridgeConfig
from bridge.observe.log import EventLog
from bridge.runtime import clock
from bridge.runtime.kafka_handle import Handle
from bridge.runtime.parts import Parts

SILENT_S: Final = 2.0
"""Without a report for so long, the old producer does not deliver: all routes wait meanwhile."""
LASTS_MAX_S: Final = 30.0
"""However slowly it delivers."""
MOMENT_S: Final = 0.15
"""How long a change of the linger may hold the records back: in a backlog it takes 12 to 17 ms."""
_LOOK_S: Final = 0.02
_LOOK_SOON_S: Final = 0.002


class KafkaRenewal:
    """Let one producer follow another, one at a time."""

    def __init__(self, parts: Parts, log: EventLog) -> None:
        self._parts = parts
        self._log = log
        self.turn = asyncio.Lock()
        """Held while one producer follows another; for a change of the linger, which needs
        properties that are not replaced meanwhile, from before the successor is built."""

    async def take(self, config: BridgeConfig, successor: Handle, failure: str | None) -> str:
        """Use the successor; return why not, or nothing.

        `failure` is why Kafka did not answer it. Where it does not answer the old one either, the
        new one is taken: it has the credentials of now.
        """
        parts = self._parts
        async with self.turn:
            if failure is not None and parts.watch.answers:
                successor.let_go()
                return failure
            with self._handover():
                go_back = parts.renew_kafka(config, successor)
                problem = await self._await_drained(clock.monotonic_s())
                if problem:
                    go_back()
        return problem

    async def _await_drained(self, began_s: float) -> str:
        parts, producer, traffic = self._parts, self._parts.producer, self._parts.traffic
        is_drained = True
        while producer.is_handing_over:
            now = clock.monotonic_s()
            silent_s = now - max(began_s, traffic.last_reported_s)
            if silent_s > SILENT_S or now - began_s > LASTS_MAX_S:
                if parts.watch.answers:
                    return f"the old producer does not deliver {len(parts.outbox)} records"
                is_drained = False
                traffic.rebuild("the old connection delivers nothing more", cause="renewed")
            await asyncio.sleep(_LOOK_S)
            traffic.serve()
        self._log.emit(
            "kafka_producer_renewed",
            waited_s=round(clock.monotonic_s() - began_s, 3),
            is_drained=is_drained,
        )
        return ""

    async def take_soon(self, successor: Handle) -> bool:
        """Use a successor that differs in its linger alone; False: the old one goes on.

        For whoever holds `turn`. What has no receipt is waited for too: none of it is sent twice.
        """
        producer, ends_s = self._parts.producer, clock.monotonic_s() + MOMENT_S
        with self._handover():
            producer.hand_over(successor, is_all_awaited=True)
            try:
                while producer.is_handing_over and clock.monotonic_s() < ends_s:
                    await asyncio.sleep(_LOOK_SOON_S)
                    self._parts.traffic.serve()
                return not producer.is_handing_over
            finally:
                producer.keep()

    @contextmanager
    def _handover(self) -> Iterator[None]:
        """Let records wait meanwhile without a pause of the reading, and go out after it."""
        traffic = self._parts.traffic
        traffic.reading.is_handover = True
        try:
            yield
        finally:
            traffic.carry_held_back()
            traffic.reading.is_handover = False

    def close(self) -> None:
        """Go on with the old producer, where a successor still waits."""
        self._parts.producer.keep()
        self._parts.traffic.carry_held_back()
