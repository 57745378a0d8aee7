"""Devices as the field has them: QoS 1 publishers that remember what the MQTT broker took.

Theory of operation. One thread owns one paho client and does everything: it publishes while the
window has room, and reads PUBACKs. paho keeps what is unacknowledged, resends it with DUP=1 after
a reconnect, and calls `_on_publish` once for each PUBACK. The oracle of the fault tests rests on
the ledger: what stands in `acknowledged` was taken over by the MQTT broker, and the bridge owes it.
"""

import abc
import itertools
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

_SESSION_EXPIRY_S: Final = 86_400
_CONNECT_DEADLINE_S: Final = 30.0
_NO_MATCHING_SUBSCRIBERS: Final = 0x10
_ERROR_FIRST: Final = 0x80
_RECONNECT_EVERY_S: Final = 0.1


class DeviceMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One PUBLISH as a device means it."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    content_type: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


class Ledger(msgspec.Struct, kw_only=True):
    """What became of every message of one publisher."""

    sent: list[DeviceMessage] = []
    """In the order of their PUBLISH, repetitions not counted."""
    acknowledged: list[DeviceMessage] = []
    """PUBACKed with success, in the order of their PUBACKs: these the MQTT broker owes."""
    unmatched: list[DeviceMessage] = []
    """PUBACKed with 0x10: nobody was subscribed, so the MQTT broker kept nothing."""
    refused: list[tuple[DeviceMessage, int]] = []
    """PUBACKed with an error reason code (0x80 and above)."""

    @property
    def settled(self) -> int:
        """Count the messages that the MQTT broker answered."""
        return len(self.acknowledged) + len(self.unmatched) + len(self.refused)


def telemetry(
    device_id: str, sequence: int, *, mqtt_topic: str | None = None, **extra: object
) -> DeviceMessage:
    """Make a good telemetry message; `metrics.sequence` tells it from its siblings."""
    body = {
        "device_id": device_id,
        "timestamp": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "metrics": {"sequence": sequence, "temperature": 21.5},
        **extra,
    }
    topic = mqtt_topic or f"devices/{device_id}/telemetry"
    return DeviceMessage(topic=topic, payload=json.dumps(body).encode())


def fleet(
    devices: int, messages: int | None = None, *, first: int = 0, prefix: str = "device"
) -> Iterator[DeviceMessage]:
    """Yield telemetry of `device-0` and on in turn; without a number of messages for ever.

    `first` is where a fleet goes on that has spoken before.
    """
    for number in itertools.islice(itertools.count(first), messages):
        yield telemetry(f"{prefix}-{number % devices}", number // devices)


class Publisher(abc.ABC):
    """One MQTT 5 connection that publishes with a bounded window and keeps a ledger.

    `publish` blocks until all is answered; `start` ... `wait` or `stop` runs beside the test, and
    goes on through outages of the MQTT broker.
    """

    def __init__(self, window: int) -> None:
        self.ledger = Ledger()
        self._window = window
        self._in_flight: dict[int, DeviceMessage] = {}
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._no_more = threading.Event()
        self._give_up = threading.Event()
        self._is_accepted = False

    @abc.abstractmethod
    def connect(self) -> None:
        """Open the connection and wait for its CONNACK.

        Raises:
            ConnectionRefusedError: the MQTT broker said no.
        """

    @abc.abstractmethod
    def disconnect(self) -> None:
        """End the connection."""

    @abc.abstractmethod
    def _send(self, message: DeviceMessage) -> None:
        """Publish one message: it is in the ledger and in flight."""

    @abc.abstractmethod
    def _turn(self, timeout_s: float) -> None:
        """Read and write once; reconnect when the connection is lost."""

    def publish(self, messages: Iterable[DeviceMessage], *, timeout_s: float = 60.0) -> Ledger:
        """Publish all of them and wait until the MQTT broker has answered every one."""
        self.start(messages)
        return self.wait(timeout_s)

    def start(self, messages: Iterable[DeviceMessage], *, rate_per_s: float | None = None) -> None:
        """Publish in a thread of its own, at this rate or as fast as the window allows."""
        assert self._thread is None, "this publisher is still publishing"
        self._no_more.clear()
        self._give_up.clear()
        self._thread = threading.Thread(
            target=self._run, args=(iter(messages), rate_per_s), name="devices", daemon=True
        )
        self._thread.start()

    def stop(self, timeout_s: float = 60.0) -> Ledger:
        """Send nothing new, wait for the open PUBACKs, and return the ledger."""
        self._no_more.set()
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 60.0) -> Ledger:
        """Wait until all messages are sent and answered.

        Raises:
            TimeoutError: they were not; the message says how many are open.
        """
        assert self._thread is not None, "nothing was started"
        self._thread.join(timeout_s)
        is_late = self._thread.is_alive()
        self._give_up.set()
        self._thread.join()
        self._thread = None
        if self._failure is not None:
            raise self._failure
        if is_late:
            raise TimeoutError(
                f"{len(self._in_flight)} of {len(self.ledger.sent)} messages are unanswered"
                f" after {timeout_s} s"
            )
        return self.ledger

    def close(self) -> None:
        """Give up whatever is open and disconnect."""
        if self._thread is not None:
            self._give_up.set()
            self._thread.join()
            self._thread = None
        self.disconnect()

    def _run(self, messages: Iterator[DeviceMessage], rate_per_s: float | None) -> None:
        try:
            self._publish_until_done(messages, rate_per_s)
        except BaseException as error:  # noqa: BLE001 -- handed to `wait`, which raises it
            self._failure = error

    def _publish_until_done(
        self, messages: Iterator[DeviceMessage], rate_per_s: float | None
    ) -> None:
        started_at = time.monotonic()
        sent = 0
        is_exhausted = False
        while not self._give_up.is_set():
            is_exhausted = is_exhausted or self._no_more.is_set()
            while not is_exhausted and len(self._in_flight) < self._window:
                due_s = sent / rate_per_s if rate_per_s else 0.0
                if time.monotonic() - started_at < due_s or not self._is_accepted:
                    break
                if (message := next(messages, None)) is None:
                    is_exhausted = True
                    break
                self._send(message)
                sent += 1
            if is_exhausted and not self._in_flight:
                return
            self._turn(0.002 if rate_per_s else 0.05)

    def _answered(self, packet_id: int, reason_code: int) -> None:
        """Write an answer of the MQTT broker into the ledger."""
        message = self._in_flight.pop(packet_id, None)
        if message is None:
            return  # QoS 0: paho calls back once it is written.
        if reason_code >= _ERROR_FIRST:
            self.ledger.refused.append((message, reason_code))
        elif reason_code == _NO_MATCHING_SUBSCRIBERS:
            self.ledger.unmatched.append(message)
        else:
            self.ledger.acknowledged.append(message)


class DevicePublisher(Publisher):
    """A device by paho, the client that the field has: some 2,500 messages a second."""

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        client_id: str | None = None,
        window: int = 100,
        username: str | None = None,
        password: str | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
    ) -> None:
        super().__init__(window)
        self._address = (host, port)
        self._answers: deque[tuple[int, int]] = deque()
        self._refusal: str | None = None
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"device-{secrets.token_hex(6)}",
            protocol=paho.MQTTv5,
        )
        self._client.max_inflight_messages_set(window)
        self._client.on_publish = self._on_publish
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        if username is not None:
            self._client.username_pw_set(username, password)
        if ca_file is not None:
            self._client.tls_set(ca_file, certfile=cert_file, keyfile=key_file)

    def connect(self) -> None:
        """Open the connection and wait for its CONNACK.

        Raises:
            ConnectionRefusedError: the MQTT broker said no.
        """
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S
        self._client.connect(*self._address, keepalive=30, properties=properties)
        ends_at = time.monotonic() + _CONNECT_DEADLINE_S
        while not self._is_accepted:
            self._client.loop(0.05)
            if self._refusal is not None:
                raise ConnectionRefusedError(self._refusal)
            if time.monotonic() >= ends_at:
                raise TimeoutError(f"no CONNACK within {_CONNECT_DEADLINE_S} s")

    def disconnect(self) -> None:
        """DISCONNECT; the session is kept."""
        self._client.disconnect()
        self._client.loop(0.0)

    def _turn(self, timeout_s: float) -> None:
        """Read and write once; reconnect when the connection is lost."""
        if self._client.loop(timeout_s) != paho.MQTT_ERR_SUCCESS:
            self._is_accepted = False
            try:
                self._client.reconnect()
            except OSError:
                self._give_up.wait(_RECONNECT_EVERY_S)
        self._take_answers()

    def _send(self, message: DeviceMessage) -> None:
        properties: Properties | None = None
        if message.content_type is not None or message.user_properties:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            if message.content_type is not None:
                properties.ContentType = message.content_type
            if message.user_properties:
                properties.UserProperty = list(message.user_properties)
        published = self._client.publish(
            message.topic, message.payload, message.qos, message.retain, properties
        )
        self.ledger.sent.append(message)
        if message.qos > 0:
            self._in_flight[published.mid] = message
        self._take_answers()

    def _take_answers(self) -> None:
        while self._answers:
            self._answered(*self._answers.popleft())

    def _on_publish(
        self,
        _client: paho.Client,
        _userdata: object,
        packet_id: int,
        reason_code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._answers.append((packet_id, reason_code.value))

    def _on_connect(
        self,
        _client: paho.Client,
        _userdata: object,
        _flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._is_accepted = not reason_code.is_failure
        self._refusal = str(reason_code) if reason_code.is_failure else None

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: object,
        _flags: paho.DisconnectFlags,
        _reason_code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._is_accepted = False
