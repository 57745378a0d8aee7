"""The socket of the MQTT session: bytes in, bytes out, one timer, and connecting again."""

import asyncio
import random
import ssl
from collections.abc import Callable
from typing import Final, Protocol, cast

from msgspec import structs

from bridge.config.sections import MqttSection
from bridge.errors import ConfigError
from bridge.mqtt.backoff import STABLE_S, Backoff
from bridge.mqtt.events import (
    ENDS_CONNECTION,
    Connected,
    Disconnected,
    Event,
    Received,
    Refused,
    TimedOut,
    VersionRefused,
    Violated,
)
from bridge.mqtt.rhythm import FULL_BYTES, Rhythm
from bridge.mqtt.session import Session
from bridge.runtime import clock
from bridge.runtime.dialling import dial
from bridge.runtime.tls import client_context

CONNECT_TIMEOUT_S: Final = 10.0
"""How long name resolution, TCP and TLS together may take."""
LINGER_S: Final = 1.0
"""How long the broker may take to read our last words and close too."""
LATE_S: Final = 0.010
"""A timer that rings later than this rings on a loop that stood still."""
LOOK_S: Final = 0.001
"""How long the socket is looked at before a late timer says that something is missing."""
TAKEOVER_RUN: Final = 3
"""So many young connections in a row that end without a word: somebody else uses the client id.
Mosquitto says so (0x8E) only since 2.1; before, it closes the old socket."""
POISON_RUN: Final = 3
"""So many protocol violations in a row mean that the same packet comes back each time."""
_MS_PER_S: Final = 1_000


class LinkObserver(Protocol):
    """What the daemon is told; each call is one fact."""

    def on_received(self, received: Received) -> None:
        """PUBLISHes came."""

    def on_event(self, event: Event) -> None:
        """Anything else the session reported."""

    def on_connect_failed(self, reason: str, *, retry_in_s: float) -> None:
        """No connection, or no usable TLS."""

    def on_connection_ended(self, *, retry_in_s: float) -> None:
        """The Network Connection is gone and will be tried again."""

    def on_bug(self, error: Exception) -> None:
        """Our own code raised: the bridge must stop, since what it holds is in doubt."""

    def on_poison_suspected(self, violations: int, detail: str) -> None:
        """The broker broke the protocol several times running."""

    def on_takeover_suspected(self) -> None:
        """Several young connections running were closed without a word."""


class MqttProtocol(asyncio.Protocol):
    """One Network Connection; it lives from `connection_made` to `connection_lost`."""

    def __init__(self, link: "MqttLink", *, password: str | None) -> None:
        self._link = link
        self._password = password
        self._session = link.session
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._has_looked = False
        """True where a timer rang late, and has to ring again."""
        self._is_reading = True
        """False while the bounds of the bridge are reached."""
        self._rhythm = Rhythm(link.rest_s)
        self._rest: asyncio.TimerHandle | None = None
        """While it runs nothing is read, so that more comes together or others have a turn."""
        self._is_over = False
        self.ended: asyncio.Future[Event | None] = link.loop.create_future()
        self.established_at: float | None = None
        self.lost = asyncio.Event()

    # ------------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send CONNECT, unless the bridge began to stop while the connection was made."""
        # A cast, not a check: uvloop's transports do not derive from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._link.protocol = self  # Before any byte comes in, so that a pause finds this socket.
        if self._link.is_stopping:
            self._end(None)
            return
        try:
            now = self._link.monotonic_s()
            self._session.connect(now=now, password=self._password)
            self.flush(now)
        except Exception as error:  # noqa: BLE001  asyncio would only log it, and wait for ever
            self._link.observer.on_bug(error)

    def data_received(self, data: bytes) -> None:
        """Hand the bytes to the session, and what they meant to the daemon."""
        if self._is_over:
            return
        try:
            now = self._link.monotonic_s()
            packets = 0
            for event in self._session.receive_data(data, now=now):
                self._take(event, now)
                if type(event) is Received:
                    packets += len(event.packets)
            self.flush(now)
            self._rest_after(packets, len(data), now)
        except Exception as error:  # noqa: BLE001  asyncio would only log it and close the socket
            self._link.observer.on_bug(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the socket is closed, whoever closed it."""
        del exc  # How a connection breaks matters to nobody: it is made anew.
        self.lost.set()
        self._transport = None
        self._end(None)
        for timer in (self._timer, self._rest):
            if timer is not None:
                timer.cancel()
        if self._link.protocol is self:
            self._session.closed()

    # ------------------------------------------------------------------ ours

    def _take(self, event: Event, now: float) -> None:
        if type(event) is Received:
            self._link.observer.on_received(event)
            return
        if type(event) is Connected:
            self.established_at = now
        self._link.observer.on_event(event)
        if isinstance(event, ENDS_CONNECTION):
            self._end(event)

    def _rest_after(self, packets: int, size_bytes: int, now: float) -> None:
        """Rest for a moment where that lets more packets come together.

        After a large read for one turn of the loop: uvloop reads 32 times before it does anything
        else, in a backlog half a second in which no timer rings and no probe is answered.
        """
        if not self._is_reading or self._is_over or self._transport is None:
            return
        may_broker_wait = self._session.may_broker_wait(now=now)
        rest_s = self._rhythm.rest_s(packets, size_bytes, may_broker_wait=may_broker_wait, now=now)
        if rest_s or size_bytes >= FULL_BYTES:
            self._end_rest()  # Where a transport hands over more than it was to read.
            self._transport.pause_reading()
            self._rest = self._link.loop.call_later(rest_s, self._end_rest)

    def _end_rest(self) -> None:
        """Read on, unless something else wants the socket not to be read."""
        if self._rest is None:
            return
        self._rest.cancel()
        self._rest = None
        if self._transport is not None and self._is_reading:
            self._transport.resume_reading()

    def _end(self, event: Event | None) -> None:
        """Close the socket after what is in the buffer; a peer that is gone gets an abort."""
        self._is_over = True
        if self.ended.done():
            return
        self.ended.set_result(event)
        if self._timer is not None:
            self._timer.cancel()  # From here on the session belongs to the next connection.
        if self._transport is None:
            return
        if isinstance(event, TimedOut):
            self._transport.abort()
            return
        self._transport.write(self._session.data_to_send())
        self._linger(self._transport)

    def _linger(self, transport: asyncio.Transport) -> None:
        """Close so that our last words arrive.

        A socket that is closed with bytes unread sends a reset, and a broker that sees it first
        never reads the PUBACKs and the DISCONNECT. So we only say that no more comes, and read on
        until the broker closes.
        """
        if transport.is_closing():
            return
        try:
            if transport.can_write_eof():
                transport.write_eof()
        except OSError:  # The broker was faster: its reset came behind its last words.
            transport.abort()
            return
        self._end_rest()
        if not self._is_reading:
            transport.resume_reading()
        self._timer = self._link.loop.call_later(LINGER_S, transport.abort)

    def flush(self, now: float) -> None:
        """Write what the session wants written, and set the timer."""
        if self._transport is None or self._is_over:
            return
        data = self._session.data_to_send()
        if data:
            self._transport.write(data)
        due = self._session.next_timer()
        if due is not None and (self._timer is None or due < self._timer_at):
            self._set_timer(due, now)

    def _set_timer(self, due: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._has_looked = False
        self._timer = self._link.loop.call_later(max(0.0, due - now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._link.monotonic_s()
        is_late = now - self._timer_at > LATE_S
        if (is_late or self._rest is not None) and not self._has_looked:
            # What is missed may lie in the socket, where nothing was read or the loop stood still.
            # One turn of the loop reads it; on either kind a timer of 0 could come before that.
            self._has_looked = True
            self._end_rest()
            self._timer = self._link.loop.call_later(LOOK_S, self._on_timer)
            return
        self._has_looked = False
        try:
            for event in self._session.on_timer(now=now):
                self._take(event, now)
            self.flush(now)
        except Exception as error:  # noqa: BLE001  as above
            self._link.observer.on_bug(error)

    def pause_reading(self) -> None:
        """Stop reading the socket; PINGREQ goes on."""
        if self._transport is not None and self._is_reading and not self._is_over:
            self._is_reading = False  # Before the end of a rest, which would read on.
            self._end_rest()
            self._transport.pause_reading()
            self._session.pause_reading()

    def resume_reading(self) -> None:
        """Read the socket again."""
        if self._transport is not None and not self._is_reading and not self._is_over:
            self._is_reading = True
            self._session.resume_reading(now=self._link.monotonic_s())
            self._transport.resume_reading()

    def close(self) -> None:
        """Write what is in the buffer and close."""
        self._end(None)

    def abort(self) -> None:
        """Close without writing what is left."""
        if self._transport is not None:
            self._transport.abort()


class MqttLink:
    """Keep the session connected: one Network Connection after the other, with jitter between."""

    def __init__(
        self,
        section: MqttSection,
        session: Session,
        observer: LinkObserver,
        *,
        password: Callable[[], str | None],
        monotonic_s: Callable[[], float] = clock.monotonic_s,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.session = session
        self.observer = observer
        self.monotonic_s = monotonic_s
        self._read_password = password
        self.protocol: MqttProtocol | None = None
        self._section = section
        self._backoff = Backoff(random.SystemRandom().uniform)
        self._violations = 0
        self._cut_short = 0
        self.is_stopping = False
        self._is_renewing = False
        self._renewals = 0

    @property
    def rest_s(self) -> float:
        """How long a connection rests after a read, by the section in force; seconds."""
        return self._section.rest_ms / _MS_PER_S

    async def run(self) -> None:
        """Connect, wait for the end of the connection, wait a little, for ever."""
        while not self.is_stopping:
            renewals = self._renewals
            failure = await self._connect()
            if failure is None:
                if renewals != self._renewals:
                    self._end_to_renew()  # It was made with what was there before.
                delay_s = await self._live()
            else:
                delay_s = self._backoff.next_delay_s()
                self.observer.on_connect_failed(failure, retry_in_s=delay_s)
            await asyncio.sleep(delay_s)

    async def _connect(self) -> str | None:
        """Open the connection; return why it could not be opened, or None."""
        section = self._section
        try:
            context = None if section.tls is None else client_context(section.tls)
            server_name = None
            if section.tls is not None:
                server_name = section.tls.server_name or section.host
            password = self._read_password()
            await dial(
                lambda: MqttProtocol(self, password=password),
                section.host,
                section.port,
                context=context,
                server_name=server_name,
                timeout_s=CONNECT_TIMEOUT_S,
            )
        except TimeoutError:
            return f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
        except ssl.SSLCertVerificationError as error:
            return f"the broker's certificate was not accepted: {error.verify_message}"
        except (OSError, ConfigError, UnicodeError) as error:  # A name that IDNA does not know.
            return str(error) or type(error).__name__
        return None

    async def _live(self) -> float:
        """Wait for the end of the connection; return how long to wait before the next."""
        protocol = self.protocol
        assert protocol is not None
        event = await protocol.ended
        self.session.closed()
        if protocol.established_at is not None and not self._is_renewing:
            lived_s = self.monotonic_s() - protocol.established_at
            self._backoff.lived(lived_s)
            is_young = lived_s < STABLE_S
            self._cut_short = self._cut_short + 1 if is_young and event is None else 0
        if self.session.has_acknowledged:
            self._violations = 0  # Running means that nothing good lay between.
        if self.is_stopping:
            return 0.0
        if self._is_renewing:
            self._is_renewing = False
            self.observer.on_connection_ended(retry_in_s=0.0)
            return 0.0
        is_patience_due = isinstance(event, VersionRefused) or (
            isinstance(event, (Refused, Disconnected)) and event.is_patience_due
        )
        if isinstance(event, Violated):
            self._violations += 1
            if self._violations >= POISON_RUN:
                self.observer.on_poison_suspected(self._violations, event.detail)
                is_patience_due = True
        elif self._cut_short >= TAKEOVER_RUN:
            self.observer.on_takeover_suspected()
            is_patience_due = True
        delay_s = (
            self._backoff.ceiling_delay_s() if is_patience_due else self._backoff.next_delay_s()
        )
        self.observer.on_connection_ended(retry_in_s=delay_s)
        return delay_s

    def renew(self, section: MqttSection) -> bool:
        """Connect anew with what the section and its files say now; the session is kept.

        What is not acknowledged comes again and joins what is under way. False where there is no
        connection that has to end for it: the next is made with it anyway.
        """
        self._section = section
        self._renewals += 1
        self.session.settings = structs.replace(self.session.settings, username=section.username)
        return self._end_to_renew()

    def _end_to_renew(self) -> bool:
        protocol = self.protocol
        if protocol is None or protocol.ended.done():
            return False
        self._is_renewing = True
        self.session.disconnect(now=self.monotonic_s())
        protocol.close()
        return True

    def flush(self) -> None:
        """Write what the session has put into its buffer."""
        if self.protocol is not None:
            self.protocol.flush(self.monotonic_s())

    def pause_reading(self) -> None:
        """Stop reading PUBLISHes until `resume_reading`."""
        if self.protocol is not None:
            self.protocol.pause_reading()

    def resume_reading(self) -> None:
        """Read PUBLISHes again."""
        if self.protocol is not None:
            self.protocol.resume_reading()

    async def close(self, *, timeout_s: float) -> None:
        """Write what is in the buffer and close the connection; a stuck peer is cut off."""
        protocol = self.protocol
        self.is_stopping = True
        if protocol is None:
            return
        protocol.close()
        try:
            async with asyncio.timeout(timeout_s):
                await protocol.lost.wait()
        except TimeoutError:
            protocol.abort()

    def stop_connecting(self) -> None:
        """Make the end of the current connection the last one."""
        self.is_stopping = True
