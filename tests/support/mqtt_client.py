"""A paho client whose every answer is awaited: the independent witness of what a broker does."""

import queue
import ssl
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

ANSWER_S = 10.0
SUCCESS = 0x00


class Client:
    """An MQTT 5 client whose every answer is awaited, never assumed."""

    def __init__(self, client_id: str, *, kept: bool = False) -> None:
        self.client_id = client_id
        self.session_present = False
        self._kept = kept
        self._answers: queue.Queue[Any] = queue.Queue()
        self._messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._paho = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
        self._paho.on_connect = self._on_connect
        self._paho.on_subscribe = lambda *answer: self._answers.put(answer[3])
        self._paho.on_publish = lambda *answer: self._answers.put(answer[3])
        self._paho.on_message = lambda *answer: self._messages.put(
            (answer[2].topic, answer[2].payload)
        )

    def _on_connect(
        self,
        _client: paho.Client,
        _userdata: object,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self.session_present = flags.session_present
        self._answers.put(reason_code)

    def connect(self, port: int, context: ssl.SSLContext | None) -> int:
        """Connect and return the CONNACK's reason code."""
        if context is not None:
            self._paho.tls_set_context(context)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600 if self._kept else 0
        host = "127.0.0.1" if context is None else "localhost"
        self._paho.connect(host, port, clean_start=not self._kept, properties=properties)
        self._paho.loop_start()
        return self._answer()

    def authenticate(self, username: str, password: str) -> None:
        """Send these with CONNECT."""
        self._paho.username_pw_set(username, password)

    def publish(self, mqtt_topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Publish with QoS 1 and return the PUBACK's reason code."""
        self._paho.publish(mqtt_topic, payload, qos=1, retain=retain)
        return self._answer()

    def subscribe(self, topic_filter: str) -> int:
        """Subscribe with QoS 1 and return the SUBACK's reason code."""
        self._paho.subscribe(topic_filter, options=SubscribeOptions(qos=1))
        return self._answer()

    def receive(self) -> tuple[str, bytes]:
        """Return the next message, as topic and payload."""
        return self._messages.get(timeout=ANSWER_S)

    def received_so_far(self) -> list[tuple[str, bytes]]:
        """Return what has come and was not yet looked at."""
        return [self._messages.get_nowait() for _ in range(self._messages.qsize())]

    def disconnect(self) -> None:
        """Leave in good order; the session stays as long as its expiry says."""
        self._paho.disconnect()
        self._paho.loop_stop()

    def _answer(self) -> int:
        answer = self._answers.get(timeout=ANSWER_S)
        reason_code = answer[0] if isinstance(answer, list) else answer
        assert isinstance(reason_code, ReasonCode)
        return reason_code.value
