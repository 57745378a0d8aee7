"""Programs of others that do this work, measured beside the bridge where they are on PATH.

Each is set up as its own manual says it loses least: QoS 1, a session that outlives it, each record
in Kafka before its message is acknowledged, and as many unsettled as the bridge allows.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.figures import TELEGRAF, TELEGRAF_RAW
from benchmarks.terms import RECEIVE_MAXIMUM, TOPIC_FILTER, Terms
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

    writes_our_records: Final = False

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


def is_here(name: str) -> bool:
    """Say whether the program of this contender can be measured on this machine."""
    return name in _WAYS and shutil.which(_PROGRAM) is not None
