"""`check --live` and peers that Mosquitto and Kafka cannot play."""

import asyncio
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import mqtt5
import pytest

from bridge.runtime.live_check.peer_certificates import judge_kafka_brokers
from tests.support.certificates import Certificates, make_certificates
from tests.support.hostile_broker import (
    BrokerConnection,
    HostileBroker,
    connack,
    puback,
    publish_qos0,
    string,
    suback,
)
from tests.support.live_check import Checked, command, parse
from tests.support.processes import free_port

SESSION_EXPIRY_60_S = b"\x11\x00\x00\x00\x3c"
DROPPED = "$SYS/broker/publish/messages/dropped"
NOT_AUTHORIZED = 0x87


@pytest.fixture
async def broker() -> AsyncIterator[HostileBroker]:
    hostile = HostileBroker()
    await hostile.start()
    yield hostile
    await hostile.close()


class Run:
    """One check against a hostile broker, going on while the test answers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, directory: Path, broker: HostileBroker) -> "Run":
        config = {
            "mqtt": {"port": broker.port, "client_id": "bridge-1"},
            "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"},
        }
        line, environment = command(directory, config, "--listen", "0.2")
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(*line, stdout=pipe, stderr=pipe, env=environment)
        )

    async def end(self) -> Checked:
        output, errors = await self._process.communicate()
        assert self._process.returncode is not None
        return parse(self._process.returncode, output.decode(), errors.decode())


def answer(connection: BrokerConnection, dropped: bytes) -> None:
    """Answer each SUBSCRIBE and PUBLISH as it comes."""

    def take(packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.SubscribePacket):
            granted = [int(each.max_qos) for each in packet.topic_filters]
            connection.say(suback(packet.packet_id, granted))
            if granted == [0]:
                connection.say(publish_qos0(DROPPED, dropped))
        if isinstance(packet, mqtt5.PublishPacket) and packet.packet_id is not None:
            connection.say(puback(packet.packet_id))

    connection.on_packet = take


async def test_a_session_expiry_that_the_broker_cuts_fails(
    broker: HostileBroker, tmp_path: Path
) -> None:
    run = await Run.start(tmp_path, broker)
    first = await broker.next_connection()
    asked = await first.greet(connack(properties=SESSION_EXPIRY_60_S))
    second = await broker.next_connection()
    answer(second, b"3")
    listening = await second.greet()

    checked = await run.end()

    assert "FAIL" == checked.standing("session expiry")
    assert "60 s granted of 604800 s asked" in checked.points["session expiry"]["value"]
    assert "warn" == checked.standing("dropped counter")
    # The session that asks for long subscribes to nothing, the one that subscribes is short.
    assert (604_800, []) == (asked.session_expiry_interval, first.all_of(mqtt5.SubscribePacket))
    assert 60 == listening.session_expiry_interval
    for connection in (first, second):
        assert [0] == [
            each.session_expiry_interval for each in connection.all_of(mqtt5.DisconnectPacket)
        ]
    assert [] == [*first.statuses, *second.statuses]


async def test_what_a_hostile_broker_says_is_escaped_and_the_check_goes_on(
    broker: HostileBroker, tmp_path: Path
) -> None:
    run = await Run.start(tmp_path, broker)
    reason = b"\x1f" + string("\x1b[2J\r\nok")
    connection = await broker.next_connection()
    await connection.greet(connack(NOT_AUTHORIZED, properties=reason))

    checked = await run.end()

    assert {"connection", "cluster"} == checked.failed()
    assert "\\x1b[2J\\r\\nok" in checked.points["connection"]["value"]
    assert checked.verdict.isprintable()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        pytest.param(b"\x20\x02\x00\x01", "refused MQTT 5", id="3.1.1-only"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "the broker", id="http"),
        pytest.param(b"\x20\xff\xff\xff\xff\xff", "the broker", id="no-length"),
        pytest.param(b"\x20\x05\x00\x00\x02\xff\xff", "the broker", id="no-property"),
        pytest.param(b"", "the broker ended the connection", id="silence"),
    ],
)
async def test_an_answer_that_is_no_mqtt_5_is_69_with_the_reason(
    broker: HostileBroker, tmp_path: Path, said: bytes, why: str
) -> None:
    run = await Run.start(tmp_path, broker)
    connection = await broker.next_connection()
    await connection.greet(said)
    connection.close()

    checked = await run.end()

    assert 69 == checked.exit_code
    assert why in checked.points["connection"]["value"]


# ---------------------------------------------------------------------------------- Kafka's TLS


async def kafka_certificates(authority: Certificates, now_unix: float) -> list[tuple[str, str]]:
    """Judge a TLS server that shows this authority's server certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server.cert_file, authority.server.key_file)
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        properties = {
            "security.protocol": "SASL_SSL",
            "bootstrap.servers": f"localhost:{server.sockets[0].getsockname()[1]}",
            "ssl.ca.location": str(authority.ca_file),
        }
        points = await asyncio.to_thread(lambda: list(judge_kafka_brokers(properties, now_unix)))
    return [(str(point.standing), point.value) for point in points]


async def test_the_certificate_of_a_kafka_broker_is_judged_by_its_days(
    certificates: Certificates,
) -> None:
    now, day_s = time.time(), 86_400

    in_time = await kafka_certificates(certificates, now)
    late = await kafka_certificates(certificates, now + 360 * day_s)

    assert ["ok"] == [standing for standing, _ in in_time]
    assert ["warn"] == [standing for standing, _ in late]


async def test_a_kafka_broker_whose_certificate_is_not_accepted_is_told_with_the_reason(
    tmp_path: Path,
) -> None:
    expired = make_certificates(tmp_path / "expired", "--devices", "1", "--days", "-1")

    ((standing, value),) = await kafka_certificates(expired, time.time())

    assert ("not proven", "not accepted: certificate has expired") == (standing, value)


def test_without_tls_no_certificate_is_asked_for() -> None:
    assert [] == list(judge_kafka_brokers({"bootstrap.servers": "127.0.0.1:1"}, 0.0))


# ---------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    "options",
    [["--fill"], ["--exclusive"], ["--json"], ["--live", "--fill", "0"], ["--live", "--listen=-1"]],
)
def test_options_that_make_no_sense_are_a_usage_error(tmp_path: Path, options: list[str]) -> None:
    path = tmp_path / "bridge.toml"
    path.touch()

    done = subprocess.run(
        [sys.executable, "-m", "bridge", "check", "--config", path, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (64, "") == (done.returncode, done.stdout)
