"""The bridge's end of its Network Connections: what `MqttLink` does, on simulated time."""

import random
from typing import TYPE_CHECKING

from bridge.mqtt.events import ENDS_CONNECTION, Connected, Event, Received
from bridge.mqtt.session import Session
from bridge.runtime.traffic import Traffic
from tests.simulation.broker import Broker, Connection
from tests.simulation.clock import Life, SimTimer

if TYPE_CHECKING:
    from collections.abc import Callable

RETRY_MAX_S = 2.0


class Link:
    """Connect, hand bytes to the session and its events to Traffic, and connect again."""

    def __init__(self, broker: Broker, life: Life, chance: random.Random, session: Session) -> None:
        self.connection: Connection | None = None
        self.is_paused = False
        self.largest_read = 0
        self.early_connections = 0
        """Made before it was known what Kafka has."""
        self.note: Callable[[str], None] = lambda _: None
        self._broker = broker
        self._life = life
        self._chance = chance
        self._session = session
        self._traffic: Traffic | None = None
        self._timer: SimTimer | None = None
        self._is_stopping = False

    def start(self, traffic: Traffic) -> None:
        self._traffic = traffic
        traffic.reading.reader = self
        self._connect()

    def _connect(self) -> None:
        if self._is_stopping or self.connection is not None:
            return
        self.connection = self._broker.connect(self)
        if self.connection is None:
            self._connect_later()
            return
        self.is_paused = False
        assert self._traffic is not None
        self.early_connections += not self._traffic.is_released
        self._session.connect(now=self._life.monotonic_s())
        self.flush()

    def _connect_later(self) -> None:
        self._life.call_later(self._chance.uniform(0.05, RETRY_MAX_S), self._connect)

    # ------------------------------------------------------------------ the network's side

    def data_received(self, data: bytes) -> None:
        if self._life.is_over or self.connection is None:
            return
        for event in self._session.receive_data(data, now=self._life.monotonic_s()):
            self._take(event)
        self.flush()

    def connection_lost(self) -> None:
        if self._life.is_over:
            return
        self.note("connection lost")
        self.connection = None
        self._session.closed()
        self._connect_later()

    def _take(self, event: Event) -> None:
        assert self._traffic is not None
        if isinstance(event, Received):
            self.largest_read = max(self.largest_read, len(event.packets))
            self._traffic.take(event)
            return
        if isinstance(event, Connected):
            self._traffic.reading.on_connected()
        if isinstance(event, ENDS_CONNECTION):
            self.note(f"connection ended: {event}")
            self._end()

    def _end(self) -> None:
        if self.connection is not None:
            self.connection.write(self._session.data_to_send())
            self.connection.cut()

    # ------------------------------------------------------------------ the bridge's side

    def flush(self) -> None:
        if self.connection is None:
            return
        data = self._session.data_to_send()
        if data:
            self.connection.write(data)
        due = self._session.next_timer()
        if due is not None and self._timer is None:
            self._timer = self._life.call_later(due - self._life.monotonic_s(), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        for event in self._session.on_timer(now=self._life.monotonic_s()):
            self._take(event)
        self.flush()

    def pause_reading(self) -> None:
        if self.connection is not None and not self.is_paused:
            self.is_paused = True
            self.connection.pause()
            self._session.pause_reading()

    def resume_reading(self) -> None:
        if self.connection is not None and self.is_paused:
            self.is_paused = False
            self._session.resume_reading(now=self._life.monotonic_s())
            self.connection.resume()

    def stop_connecting(self) -> None:
        self._is_stopping = True

    def close(self) -> None:
        """Let the last words arrive, then close."""
        self.flush()
        if self.connection is not None:
            self.connection.finish()
