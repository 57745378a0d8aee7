"""Programs of others that do this work, measured beside the bridge where they are on PATH.

Each is set up as its own manual says it loses least: QoS 1, a session that outlives it, each record
in Kafka before its message is acknowledged, and as many unsettled as the bridge allows.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.figures import TELEGRAF, TELEGRAF_RAW
from benchmarks.terms import RECEIVE_MAXIMUM, TOPIC_FILTER, Terms
from tests.support.kafka_client import ConsumedRecord
from tests.support.processes import ChildProcess

_PROGRAM: Final = "telegraf"
_STOP_S: Final = 60.0

_COMMON: Final = """\
[agent]
  omit_hostname = true
  flush_interval = "100ms"
  flush_jitter = "0s"
  metric_batch_size = 1000
  metric_buffer_limit = 100000
[[outputs.kafka]]
  brokers = ["{bootstrap_servers}"]
  topic = "{kafka_topic}"
  required_acks = -1
  idempotent_writes = true
{output}
[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:{port}"]
  topics = ["{topic_filter}"]
  qos = 1
  client_id = "{client_id}"
  persistent_session = true
  max_undelivered_messages = {receive_maximum}
{input}
"""
_RAW_OUTPUT: Final = """\
  data_format = "template"
  template = '''{{ .Field "value" }}'''"""
_RAW_INPUT: Final = """\
  data_format = "value"
  data_type = "string"
"""
_PARSED_OUTPUT: Final = """\
  routing_tag = "device_id"
  data_format = "json"
  json_timestamp_units = "1ms"
"""
_PARSED_INPUT: Final = """\
  data_format = "json_v2"
  [[inputs.mqtt_consumer.json_v2]]
    [[inputs.mqtt_consumer.json_v2.object]]
      path = "@this"
      tags = ["device_id"]
      timestamp_key = "timestamp"
      timestamp_format = "2006-01-02T15:04:05Z07:00"
"""
_WAYS: Final[Mapping[str, tuple[str, str]]] = {
    TELEGRAF: (_PARSED_OUTPUT, _PARSED_INPUT),
    TELEGRAF_RAW: (_RAW_OUTPUT, _RAW_INPUT),
}


class Rival:
    """Telegraf, with the plugins that do this work, in one of two ways."""

    def __init__(self, name: str, directory: Path, terms: Terms) -> None:
        output, input_ = _WAYS[name]
        self.process = ChildProcess(name, directory / "telegraf.log")
        self._directory = directory
        self._config = directory / "telegraf.conf"
        text = _COMMON.format(
            port=terms.mqtt_port,
            topic_filter=TOPIC_FILTER,
            client_id=terms.client_id,
            receive_maximum=RECEIVE_MAXIMUM,
            bootstrap_servers=terms.bootstrap_servers,
            kafka_topic=terms.kafka_topic,
            output=output,
            input=input_,
        )
        self._config.write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Start it; it connects by itself."""
        program = shutil.which(_PROGRAM)
        assert program is not None, f"{_PROGRAM} is not on PATH"
        self.process.spawn([program, "--config", self._config], cwd=self._directory)

    def await_settled(self) -> None:
        """Ask nothing: Kafka has all, and nothing else is known."""

    def stop(self) -> None:
        """Stop it."""
        self.process.stop(_STOP_S)

    def fault_of(self, record: ConsumedRecord) -> str:
        """Say whether a record is less than was asked for; empty where it is not."""
        found = msgspec.json.decode(record.value or b"null")
        if self.process.name == TELEGRAF_RAW:
            return "" if "device_id" in found else f"it has the value {record.value!r}"
        is_whole = "metrics_temperature" in found["fields"] and "device_id" in found["tags"]
        has_key = record.key == found["tags"]["device_id"].encode()
        return "" if is_whole and has_key else f"it is {record}"


def is_here(name: str) -> bool:
    """Say whether the program of this contender can be measured on this machine."""
    return name in _WAYS and shutil.which(_PROGRAM) is not None
