"""The Content Type says what a payload is, else the route; what is wrong keeps its bytes."""

import os
import subprocess
import sys

import pytest

from bridge.config.sections import Route
from tests.pipeline.formats.given import FORMATS, Reading, carry_as, encode
from tests.pipeline.given import Packet, carry, headers, value, verdict

GOOD = {name: encode(Reading(), name) for name in FORMATS}
TYPES = {
    "application/json": "json",
    "text/json": "json",
    "application/msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
    "application/cbor": "cbor",
    "application/protobuf": "protobuf",
    "application/x-protobuf": "protobuf",
    "Application/CBOR; version=1": "cbor",
    " APPLICATION/X-MSGPACK ;q=1": "msgpack",
}


@pytest.mark.parametrize("route_format", ["json", "binary", "cbor"])
@pytest.mark.parametrize(("content_type", "format_name"), TYPES.items())
def test_the_content_type_wins_over_the_format_of_the_route(
    content_type: str, format_name: str, route_format: str
) -> None:
    record = carry_as(route_format, GOOD[format_name], content_type=content_type)

    assert 21.5 == value(record)["metrics"]["temperature"]
    assert "application/json" == headers(record)["content-type"]


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/octet-stream"])
@pytest.mark.parametrize("format_name", FORMATS)
def test_without_a_content_type_that_says_something_the_route_decides(
    format_name: str, content_type: str | None
) -> None:
    record = carry_as(format_name, GOOD[format_name], content_type=content_type)

    assert 21.5 == value(record)["metrics"]["temperature"]


@pytest.mark.parametrize(
    ("content_type", "format_name"),
    [
        (content_type, format_name)
        for content_type, named in list(TYPES.items())[:7]
        for format_name in ("json", "msgpack", "cbor", "protobuf", "binary")
        if named != format_name
    ],
)
def test_a_payload_under_the_wrong_content_type_is_a_dead_letter_of_its_bytes(
    content_type: str, format_name: str
) -> None:
    record = carry_as("json", GOOD[format_name], content_type=content_type)

    assert ("not_decodable", "protocol") == verdict(record)[:2]
    assert GOOD[format_name] == record.value
    assert content_type == headers(record)["content-type"]


@pytest.mark.parametrize("content_type", ["application/xml", "application/cbor-seq", "cbor"])
def test_a_content_type_of_no_known_format_is_a_dead_letter(content_type: str) -> None:
    record = carry_as("cbor", GOOD["cbor"], content_type=content_type)

    assert "unsupported_format" == verdict(record)[0]
    assert (GOOD["cbor"], content_type) == (record.value, headers(record)["content-type"])


def test_a_binary_route_that_nobody_gave_a_layout_says_so() -> None:
    # The configuration refuses it; Decoding may be made without one.
    route = Route(format="binary")
    record = carry(Packet(payload=GOOD["binary"]), routes=(route,))

    assert (
        "unsupported_format",
        "protocol",
        "this route has no layout for binary payloads",
    ) == verdict(record)


def test_without_the_protobuf_package_such_a_payload_is_a_dead_letter_that_names_it() -> None:
    code = (
        "import sys; sys.modules['google.protobuf'] = None\n"
        "from tests.pipeline.given import Packet, carry, verdict\n"
        "print(verdict(carry(Packet(payload=b'x', content_type='application/protobuf'))))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert "unsupported_format" in done.stdout
    assert "pip install 'mqtt-kafka-bridge[protobuf]'" in done.stdout
