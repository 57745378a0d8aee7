"""A new producer in the place of the old one: with other credentials, and without a gap in order.

Theory of operation. The successor has been tried already. The old producer is given nothing more;
once it has delivered what it had, the successor goes on, so nothing overtakes. Where nothing is
delivered any more there are two cases. The cluster answers the old producer all the same: something
else is in the way, a partition without a leader for instance, and the old one is kept, to be
renewed later. Or it does not: the old credentials may be dead, so the producer is replaced as after
a fatal error, and what it may have sent is looked for in Kafka before any of it is sent again.
"""

import asyncio
from typing import Final

from bridge.config.sections import BridgeConfig
from bridge.observe.log import EventLog
from bridge.runtime import clock
from bridge.runtime.kafka_producer import Handle
from bridge.runtime.parts import Parts

SILENT_S: Final = 2.0
"""Without a report for so long, the old producer does not deliver: all routes wait meanwhile."""
LASTS_MAX_S: Final = 30.0
"""However slowly it delivers."""
_LOOK_S: Final = 0.02


class KafkaRenewal:
    """Let one producer follow another."""

    def __init__(self, parts: Parts, log: EventLog) -> None:
        self._parts = parts
        self._log = log

    async def take(self, config: BridgeConfig, successor: Handle, failure: str | None) -> str:
        """Use the successor; return why not, or nothing.

        `failure` is why Kafka did not answer it. Where it does not answer the old one either, the
        new one is taken: it has the credentials of now.
        """
        parts = self._parts
        if failure is not None and parts.watch.answers:
            successor.let_go()
            return failure
        go_back = parts.renew_kafka(config, successor)
        began_s = clock.monotonic_s()
        problem = await self._await_drained(began_s)
        if problem:
            go_back()
        parts.traffic.carry(parts.outbox.due(clock.monotonic_s()))
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

    def close(self) -> None:
        """Go on with the old producer, where a successor still waits."""
        self._parts.producer.keep()
