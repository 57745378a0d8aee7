"""One performance of the demo, from the first message to the last line of the books.

Theory of operation. Messages flow until the fleet has said all or somebody wants to stop. Then the
fleet falls silent, what is on its way is waited for, and the bridge is asked to end as in real
life: with SIGTERM. Only when it is gone, so that nothing more can come, both topics are read to
their ends and the books are closed.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from bridge.cli.showcase.accounting import OWED_MAX, Accounting, quantile
from bridge.cli.showcase.bridge_process import Condition
from bridge.cli.showcase.fleet import Fleet
from bridge.cli.showcase.groups import first_error
from bridge.cli.showcase.publisher import MqttEndpoint, publish, speak
from bridge.cli.showcase.stage import Stage
from bridge.cli.showcase.view import Observer, View
from bridge.errors import BridgeError

CONNECTIONS = 4
READ_PATIENCE_S = 0.1
POLL_S = 0.02
WATCH_S = 0.25
BRIDGE_STOP_S = 35.0
"""Above shutdown.drain_timeout_s of the bridge."""
MOSQUITTO_STOP_S = 5.0


class Performance:
    """The fleet on one side of the stage, the books on the other."""

    def __init__(self, stage: Stage, fleet: Fleet, stop: asyncio.Event) -> None:
        self.books = Accounting()
        self._stop = stop
        self._stage = stage
        self._fleet = fleet
        self._condition = Condition()
        self._is_silent = False
        self._is_bridge_gone = False
        self._is_closed = False
        self._started_at = time.monotonic()
        self._observer = Observer(self.books, place=stage.place, started_at=self._started_at)
        self._duration_s = 0.0

    async def play(self, *, rate_per_s: float, messages_max: int | None, patience_s: float) -> None:
        """Carry messages and close the books.

        Raises:
            BridgeError: the bridge ended early, or not cleanly.
            UnavailableError: Mosquitto went away.
        """
        messages = speak(
            self._fleet,
            rate_per_s=rate_per_s,
            messages_max=messages_max,
            is_over=self._stop.is_set,
            must_wait=lambda: self.books.owed >= OWED_MAX,
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read())
                group.create_task(self._watch())
                endpoint = MqttEndpoint(
                    host="127.0.0.1", port=self._stage.mosquitto.port, client_id_prefix="demo-fleet"
                )
                await publish(messages, endpoint, connections=CONNECTIONS, witness=self.books)
                await self._settle(patience_s=patience_s)
                self._is_silent = True
                self._duration_s = time.monotonic() - self._started_at
                await self._stage.bridge.stop(patience_s=BRIDGE_STOP_S)
                self._is_bridge_gone = True
        except* BridgeError as errors:
            error = first_error(errors)
        else:
            await self._stage.mosquitto.child.stop(patience_s=MOSQUITTO_STOP_S)
            return
        raise error

    async def views(self, *, every_s: float) -> AsyncIterator[View]:
        """Look again and again, until the books are closed."""
        while not self._is_closed:
            note = "stopping: no new messages" if self._stop.is_set() else "Ctrl-C ends it"
            yield self._observer.look(self._condition, now=time.monotonic(), note=note)
            await asyncio.sleep(every_s)

    def summary(self) -> dict[str, Any]:
        """Say the outcome as JSON."""
        latencies_s = list(self.books.latencies_s)
        settled = self.books.telemetry + self.books.dead_letters_total
        return self.books.summary() | {
            "duration_s": round(self._duration_s, 3),
            "messages_per_s": round(settled / self._duration_s, 1) if self._duration_s else 0.0,
            "latency_ms": {
                name: None if value_s is None else round(value_s * 1_000, 2)
                for name, value_s in (
                    ("p50", quantile(latencies_s, 0.50)),
                    ("p99", quantile(latencies_s, 0.99)),
                )
            },
            "unexpected_texts": list(self.books.unexpected_texts),
        }

    async def _read(self) -> None:
        reader = self._stage.reader
        while True:
            was_bridge_gone = self._is_bridge_gone
            arrivals = await asyncio.to_thread(reader.read, patience_s=READ_PATIENCE_S)
            for arrival in arrivals:
                self.books.arrived(arrival)
            if was_bridge_gone and not arrivals and await asyncio.to_thread(reader.is_at_end):
                self._is_closed = True
                return

    async def _watch(self) -> None:
        while not self._is_silent:
            self._stage.bridge.raise_if_ended()
            self._condition = await self._stage.bridge.condition()
            await asyncio.sleep(WATCH_S)

    async def _settle(self, *, patience_s: float) -> None:
        """Wait until nothing is owed, or until nothing has come for `patience_s`."""
        last, last_at = self.books.owed, time.monotonic()
        while self.books.owed and time.monotonic() - last_at < patience_s:
            await asyncio.sleep(POLL_S)
            if self.books.owed < last:
                last, last_at = self.books.owed, time.monotonic()
