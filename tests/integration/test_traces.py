"""Trace context and spans through a real bridge: headers in Kafka, spans at a collector."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.scene import Scene
from tests.support.devices import DeviceMessage, telemetry
from tests.support.eventually import eventually
from tests.support.processes import free_port

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = (("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "a=1"))
PROPERTIES = {"traceparent": SAMPLED[0][1].encode(), "tracestate": b"a=1"}


class Collector:
    """Takes spans over OTLP and keeps them."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class _Request(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sent = ExportTraceServiceRequest.FromString(body)
                collector.spans += [
                    span
                    for resource in sent.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Request)
        self._serving = threading.Thread(target=self._server.serve_forever)
        self._serving.start()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    taking = Collector()
    yield taking
    taking.close()


def sampled(each: DeviceMessage) -> DeviceMessage:
    return msgspec.structs.replace(each, user_properties=SAMPLED)


def test_trace_context_reaches_kafka_and_a_span_the_collector(
    scene: Scene, collector: Collector
) -> None:
    scene.create_topics()
    bridge = scene.start(trace={"sample_ratio": 1e-9, "endpoint": collector.endpoint})
    bad = DeviceMessage(topic="devices/dev-2/telemetry", payload=b"no json")
    wrong = msgspec.structs.replace(
        telemetry("dev-3", 1), user_properties=(("traceparent", "wrong"),)
    )

    scene.devices().publish([sampled(telemetry("dev-1", 1)), sampled(bad), wrong])
    scene.await_quiet(bridge)
    eventually(lambda: len(collector.spans), lambda found: found >= 2, what="two spans")

    found = scene.read()
    (record,) = (each for each in found.telemetry if each.key == b"dev-1")
    (letter,) = found.dead_letters
    for each in (record, letter):
        assert {name: each.header(name) for name in PROPERTIES} == PROPERTIES
    (plain,) = (each for each in found.telemetry if each.key == b"dev-3")
    assert plain.header("traceparent") is None
    assert 1 == bridge.metric("bridge_trace_contexts_malformed_total", field="traceparent")
    assert 2 == bridge.metric("bridge_trace_spans_total", outcome="exported")
    assert {(TRACE, SPAN)} == {
        (each.trace_id.hex(), each.parent_span_id.hex()) for each in collector.spans
    }
    offsets = {
        (each.name, value.value.int_value)
        for each in collector.spans
        for value in each.attributes
        if value.key == "messaging.kafka.offset"
    }
    assert {
        (f"send {scene.telemetry}", record.offset),
        (f"send {scene.dead_letters}", letter.offset),
    } == offsets


def test_a_collector_that_is_away_holds_nothing(scene: Scene) -> None:
    scene.create_topics()
    endpoint = f"http://127.0.0.1:{free_port()}/v1/traces"
    bridge = scene.start(trace={"sample_ratio": 1.0, "endpoint": endpoint})

    ledger = scene.devices().publish([telemetry("dev-1", number) for number in range(50)])
    reckoning = scene.reckon_when_quiet(bridge)

    assert 50 == len(ledger.acknowledged)
    reckoning.assert_holds()
    assert 0 == bridge.stop()
