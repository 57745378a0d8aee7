"""librdkafka's mock cluster in this process, with its levers: delays, leaders, brokers down.

For what is tested at the other end of the bridge, the PUBACKs: when a delivery report comes, and in
which order. What the bridge promises of Kafka itself is proven on a real Kafka only.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import cimpl

from tests.support.kafka_client import KafkaClient

_PRODUCER: Final = 0
_ERROR_TEXT_BYTES: Final = 512
_PRODUCE_REQUEST: Final = 0


def _load() -> ctypes.CDLL:
    # The symbols of a library that the extension module is linked with are found through it,
    # wherever the wheel keeps that library.
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_partition_set_leader": (
            number,
            [pointer, text, ctypes.c_int32, ctypes.c_int32],
        ),
        "rd_kafka_mock_broker_set_rtt": (number, [pointer, ctypes.c_int32, number]),
        "rd_kafka_mock_broker_set_down": (number, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_up": (number, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_push_request_errors_array": (
            None,
            [pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(number)],
        ),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


_LIBRARY: Final = _load()


class InProcessKafka:
    """A mock cluster of its own; brokers are numbered from 1.

    To hold delivery reports back take the leader down: a record sent to it waits in the bridge,
    and is reported soon after the leader is up again.
    """

    def __init__(self, brokers: int = 1) -> None:
        error = ctypes.create_string_buffer(_ERROR_TEXT_BYTES)
        settings = _LIBRARY.rd_kafka_conf_new()
        # Otherwise it says on standard error that a mock cluster is in use.
        _LIBRARY.rd_kafka_conf_set(settings, b"log_level", b"0", error, len(error))
        self._client = _LIBRARY.rd_kafka_new(_PRODUCER, settings, error, len(error))
        assert self._client, error.value.decode()
        self._cluster = _LIBRARY.rd_kafka_mock_cluster_new(self._client, brokers)
        assert self._cluster, "librdkafka made no mock cluster"
        self.brokers = brokers
        self.bootstrap: str = _LIBRARY.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self.client = KafkaClient(self.bootstrap)

    def close(self) -> None:
        """End the cluster and everything in it."""
        if self._cluster:
            _LIBRARY.rd_kafka_mock_cluster_destroy(self._cluster)
            _LIBRARY.rd_kafka_destroy(self._client)
            self._cluster = None

    def create_topic(self, name: str, leaders: Sequence[int] = (1,)) -> str:
        """Create a topic with one partition for each of these leaders; return its name."""
        topic = name.encode()
        self._must(_LIBRARY.rd_kafka_mock_topic_create(self._cluster, topic, len(leaders), 1))
        for partition, broker in enumerate(leaders):
            self._must(
                _LIBRARY.rd_kafka_mock_partition_set_leader(self._cluster, topic, partition, broker)
            )
        return name

    def take_down(self, *brokers: int) -> None:
        """Cut every connection of these brokers (without a number: of all) and take none."""
        for broker in brokers or range(1, self.brokers + 1):
            self._must(_LIBRARY.rd_kafka_mock_broker_set_down(self._cluster, broker))

    def bring_up(self, *brokers: int) -> None:
        """Let these brokers (without a number: all) accept connections again."""
        for broker in brokers or range(1, self.brokers + 1):
            self._must(_LIBRARY.rd_kafka_mock_broker_set_up(self._cluster, broker))

    def delay(self, broker: int, delay_ms: int) -> None:
        """Hold every answer of this broker back for so long."""
        self._must(_LIBRARY.rd_kafka_mock_broker_set_rtt(self._cluster, broker, delay_ms))

    def fail_produce(self, error_codes: Sequence[int]) -> None:
        """Answer the next Produce requests with these error codes of the Kafka protocol."""
        errors = (ctypes.c_int * len(error_codes))(*error_codes)
        _LIBRARY.rd_kafka_mock_push_request_errors_array(
            self._cluster, _PRODUCE_REQUEST, len(error_codes), errors
        )

    @staticmethod
    def _must(error: int) -> None:
        assert error == 0, f"the mock cluster answered with librdkafka's error {error}"
