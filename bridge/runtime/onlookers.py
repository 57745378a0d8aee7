"""Those who look at single messages, made from the configuration and run beside the way."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.config.sections import BridgeConfig, Route
from bridge.observe.counters import Counters
from bridge.observe.log import EventLog, raised_at
from bridge.runtime.clock import Clock
from bridge.runtime.follow_requests import FollowRequests
from bridge.runtime.following import Following
from bridge.runtime.kafka_producer import KafkaProducer
from bridge.runtime.witnesses import Witnesses

if TYPE_CHECKING:
    from bridge.runtime.traces import Traces

_SALT_BYTES = 16


class Onlookers:
    """The followed device, and traces where they are configured."""

    def __init__(
        self,
        witnesses: Witnesses,
        producer: KafkaProducer,
        requests: FollowRequests,
        traces: "Traces | None",
        log: EventLog,
    ) -> None:
        self._witnesses = witnesses
        self._producer = producer
        self._requests = requests
        self._traces = traces
        witnesses.on_change = self._note_places
        witnesses.on_fault = lambda error: log.emit(
            "witness_failed", error=repr(error), where=raised_at(error)
        )
        if traces is not None:
            witnesses.add(traces)

    def _note_places(self) -> None:
        """Let the producer keep places only while somebody asks for them."""
        is_on = self._witnesses.is_on
        self._producer.note_place = self._witnesses.note_place if is_on else None

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._guarded(self._requests.run()))
            if self._traces is not None:
                group.create_task(self._guarded(self._traces.run()))

    async def _guarded(self, running: Coroutine[None, None, None]) -> None:
        """Let no bug of an onlooker end the bridge: it looks no more, and that is told."""
        try:
            await running
        except Exception as error:  # noqa: BLE001 - whatever it is, messages flow on
            self._witnesses.on_fault(error)


def make_traces(config: BridgeConfig, counters: Counters) -> "Traces | None":
    """Make what sends spans; None where no message is to be sampled."""
    if not config.trace.sample_ratio:
        return None
    # An extra, and half a second of imports: only who asks for it has either.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    from bridge.runtime.traces import EXPORT_MAX_S, Sampler, Traces  # noqa: PLC0415

    return Traces(
        sampler=Sampler(config.trace.sample_ratio, salt=os.urandom(_SALT_BYTES)),
        exporter=OTLPSpanExporter(endpoint=config.trace.endpoint, timeout=EXPORT_MAX_S),
        client_id=config.mqtt.client_id,
        counters=counters,
    )


def make_follow_requests(
    routes: Callable[[], Sequence[Route]],
    witnesses: Witnesses,
    log: EventLog,
    *,
    directory: Path,
    clock: Clock,
) -> FollowRequests:
    """Make what follows a device; the routes are asked for anew, since a reload may change them."""
    following = Following(witnesses, routes, log=log, monotonic_s=clock.monotonic_s)
    return FollowRequests(directory, following, log)
