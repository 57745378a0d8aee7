"""The terms that are the same for all who are compared: what is read, and how Kafka is written."""

import argparse
from typing import Final

import msgspec

from bridge.config.sections import KafkaSection, MqttSection
from bridge.kafka.properties import Value, producer_properties

TOPIC_FILTER: Final = "devices/+/telemetry"
RECEIVE_MAXIMUM: Final = MqttSection().receive_maximum
SESSION_EXPIRY_S: Final = MqttSection().session_expiry_s
KEEP_ALIVE_S: Final = MqttSection().keep_alive_s
UNSETTLED_MAX: Final = MqttSection().unsettled_max


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Where one program reads and writes."""

    mqtt_port: int
    bootstrap_servers: str
    client_id: str
    kafka_topic: str
    dead_letter_topic: str

    def as_arguments(self) -> list[str]:
        """Write the terms as the command line that `from_arguments` reads."""
        names = self.__struct_fields__
        return [f"--{name.replace('_', '-')}={getattr(self, name)}" for name in names]

    @classmethod
    def from_arguments(cls, arguments: list[str] | None = None) -> "Terms":
        """Read the terms from the command line."""
        parser = argparse.ArgumentParser()
        for name in cls.__struct_fields__:
            parser.add_argument(f"--{name.replace('_', '-')}", required=True)
        return msgspec.convert(vars(parser.parse_args(arguments)), cls, strict=False)

    def producer_properties(self) -> dict[str, Value]:
        """Give librdkafka's configuration: the bridge's own."""
        return producer_properties(
            KafkaSection(bootstrap_servers=self.bootstrap_servers),
            client_id=self.client_id,
            password=None,
            secrets={},
            records_max=UNSETTLED_MAX,
        )
