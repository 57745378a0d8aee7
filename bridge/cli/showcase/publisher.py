"""The fleet on the wire: a few MQTT 5 connections that carry the QoS 1 messages of all devices.

Theory of operation. A device always uses the same connection, and a connection publishes in the
order in which it was given messages, so the messages of a device keep their order. As a real
device would, a connection that is lost comes back and first sends again what was not acknowledged.
"""

import asyncio
import errno
import logging
import os
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import aiomqtt
import msgspec
from paho.mqtt import client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bridge.cli.showcase.fleet import Fleet
from bridge.cli.showcase.groups import first_error
from bridge.cli.showcase.traffic import Message
from bridge.config.regular_files import open_regular, see_that_it_is_regular
from bridge.config.secrets import SECRET_BYTES_MAX
from bridge.errors import UnavailableError

IN_FLIGHT_MAX = 100
"""PUBLISHes of one connection without their PUBACK; aiomqtt counts them one by one at each call."""
WAITING_MAX = 100
"""Messages that wait for a free place in flight; then the fleet waits."""
RECONNECT_DELAY_S = 1.0
AWAY_MAX_S = 60.0
TICK_S = 0.02
"""How often a paced fleet speaks: 50 times a second looks even and costs nothing."""
_QUIET = logging.getLogger("bridge.fleet")
"""aiomqtt says "There are 11 pending publish calls" for each one; what matters is raised."""
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False
_AT_ONCE = 500.0
"""What a fleet without a rate says between two looks at whether it should go on."""


class MqttEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Which MQTT broker, and how to be let in."""

    host: str
    port: int
    username: str | None = None
    password_file: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_id_prefix: str = "fleet"

    def tls_context(self) -> ssl.SSLContext | None:
        """Build the TLS context, or None for plain TCP.

        Raises:
            UnavailableError: a file is missing or is no certificate or key.
        """
        if self.tls_ca is None and self.tls_cert is None:
            return None
        try:
            for file in (self.tls_ca, self.tls_cert, self.tls_key):
                if file is not None:
                    see_that_it_is_regular(file)
            context = ssl.create_default_context(cafile=self.tls_ca)
            if self.tls_cert is not None:
                context.load_cert_chain(self.tls_cert, self.tls_key)
        except OSError as error:  # SSLError is one.
            files = ", ".join(f'"{path}"' for path in (self.tls_ca, self.tls_cert) if path)
            raise UnavailableError(f"cannot use the TLS files {files}: {error}") from error
        return context

    def password(self) -> str | None:
        """Read the password; it is never an argument, where every process could see it.

        Raises:
            UnavailableError: the file cannot be read.
        """
        if self.password_file is None:
            return None
        try:
            with open_regular(self.password_file) as opened:
                return opened.read(SECRET_BYTES_MAX).decode().removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UnavailableError(
                f'cannot read password file "{self.password_file}": {error}'
            ) from error


class Witness(Protocol):
    """Who wants to know what became of the messages on their way to the MQTT broker."""

    def sent(self, message: Message) -> None:
        """Note a message that is about to be published for the first time."""

    def answered(self, message: Message) -> None:
        """Note that its PUBACK came, whatever it said."""

    def refused(self) -> None:
        """Note that a PUBACK said no: the MQTT broker will not have that message."""


class _Client(aiomqtt.Client):
    """aiomqtt takes every PUBACK for a yes; this one reads the reason code [MQTT-4.13.2-1]."""

    witness: Witness

    def _on_publish(
        self,
        client: mqtt.Client,
        userdata: object,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        if reason_code.is_failure:
            self.witness.refused()
        super()._on_publish(client, userdata, mid, reason_code, properties)


class _Connection:
    """One MQTT connection and the messages it still owes the broker, oldest first."""

    def __init__(self, endpoint: MqttEndpoint, number: int, witness: Witness) -> None:
        self._endpoint = endpoint
        self._client_id = f"{endpoint.client_id_prefix}-{os.getpid()}-{number}"
        self._witness = witness
        self._waiting: asyncio.Queue[Message | None] = asyncio.Queue(WAITING_MAX)
        self._owed: dict[int, Message] = {}
        self._count = 0
        self._ended = False

    async def give(self, message: Message | None) -> None:
        """Queue a message; None means that no more will come."""
        await self._waiting.put(message)

    async def run(self) -> None:
        """Publish until the end, through every loss of the connection.

        Raises:
            UnavailableError: the first connection failed, or one stayed away for AWAY_MAX_S.
        """
        loop = asyncio.get_running_loop()
        deadline: float = loop.time()
        while not self._ended or self._owed:
            try:
                async with self._connect() as client:
                    deadline = loop.time() + AWAY_MAX_S
                    await self._converse(client)
            except* aiomqtt.MqttError as errors:
                if loop.time() >= deadline:
                    raise self._unavailable(errors) from None
            if not self._ended or self._owed:
                await asyncio.sleep(RECONNECT_DELAY_S)

    def _unavailable(self, errors: ExceptionGroup[aiomqtt.MqttError]) -> UnavailableError:
        return UnavailableError(
            f"could not publish to the MQTT broker at {self._endpoint.host}:{self._endpoint.port}:"
            f" {errors.exceptions[0]}"
        )

    def _connect(self) -> _Client:
        endpoint = self._endpoint
        client = _Client(
            endpoint.host,
            endpoint.port,
            identifier=self._client_id,
            username=endpoint.username,
            password=endpoint.password(),
            tls_context=endpoint.tls_context(),
            protocol=aiomqtt.ProtocolVersion.V5,
            logger=_QUIET,
            max_inflight_messages=IN_FLIGHT_MAX,
        )
        client.witness = self._witness
        return client

    async def _converse(self, client: _Client) -> None:
        free = asyncio.Semaphore(IN_FLIGHT_MAX)
        async with asyncio.TaskGroup() as publishing:
            for number, message in list(self._owed.items()):
                await free.acquire()
                publishing.create_task(self._publish(client, number, message, free))
            while not self._ended:
                await free.acquire()
                given = await self._waiting.get()
                if given is None:
                    self._ended = True
                    return
                self._count += 1
                self._owed[self._count] = given
                self._witness.sent(given)
                publishing.create_task(self._publish(client, self._count, given, free))

    async def _publish(
        self, client: _Client, number: int, message: Message, free: asyncio.Semaphore
    ) -> None:
        await client.publish(message.device.mqtt_topic, message.payload, qos=1)
        free.release()
        del self._owed[number]
        self._witness.answered(message)


def leave_out_closed_sockets(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handle what a callback of the loop raised, but for sockets that are closed already.

    aiomqtt asks the loop for a socket in its next iteration, and by then paho may have closed it;
    that the connection ended is raised elsewhere.
    """
    error = context.get("exception")
    if not isinstance(error, OSError) or error.errno != errno.EBADF:
        loop.default_exception_handler(context)


async def publish(
    messages: AsyncIterable[Message],
    endpoint: MqttEndpoint,
    *,
    connections: int,
    witness: Witness,
) -> None:
    """Publish all messages and return when each has its PUBACK.

    Raises:
        UnavailableError: the MQTT broker cannot be reached, or no longer.
    """
    asyncio.get_running_loop().set_exception_handler(leave_out_closed_sockets)
    links = [_Connection(endpoint, number, witness) for number in range(connections)]
    try:
        async with asyncio.TaskGroup() as running:
            for link in links:
                running.create_task(link.run())
            async for message in messages:
                await links[message.device.number % connections].give(message)
            for link in links:
                await link.give(None)
    except* UnavailableError as errors:
        unavailable = first_error(errors)
    else:
        return
    raise unavailable


async def speak(
    fleet: Fleet,
    *,
    rate_per_s: float,
    messages_max: int | None,
    is_over: Callable[[], bool],
    must_wait: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Message]:
    """Let the fleet speak in real time, at `rate_per_s` in total or, at 0, as fast as it is heard.

    A fleet that had to wait does not catch up: what it would have said then was never measured.
    """
    loop = asyncio.get_running_loop()
    spoken = 0
    due = 0.0
    last = loop.time()
    while messages_max is None or spoken < messages_max:
        if is_over():
            return
        if must_wait() or due < 1:
            await asyncio.sleep(TICK_S)
            now = loop.time()
            burst_max = max(1.0, rate_per_s * TICK_S * 5)
            due = min(due + rate_per_s * (now - last), burst_max) if rate_per_s else _AT_ONCE
            last = now
            continue
        due -= 1
        spoken += 1
        yield fleet.next_message(datetime.now(UTC))
