import asyncio
import io
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bridge.config.sections import BridgeConfig, KafkaSection, MqttSection, MqttTls, Secret
from bridge.observe.catalogue.entry import Level
from bridge.observe.lines import StreamLines
from bridge.observe.link_metrics import Link
from bridge.observe.log import EventLog, render_json
from bridge.runtime.certificates import CertificateWatch, certificate_files
from tests.support.eventually import eventually_async

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0


class Stand:
    """A watch over the certificate of the MQTT link, and a log into memory."""

    def __init__(self, file: Path) -> None:
        self._stream = io.StringIO()
        log = EventLog(
            level=Level.DEBUG,
            lines=StreamLines(self._stream),
            renderer=render_json,
            unix_now=lambda: NOW_S,
            monotonic_now=lambda: 0.0,
        )
        self.watch = CertificateWatch({Link.MQTT: file}, log)

    def learn(self, found: float | str, *, at_day: float = 0.0) -> None:
        self.watch.learn(Link.MQTT, found, NOW_S + at_day * DAY_S)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    @property
    def told(self) -> list[str]:
        return [each["event"] for each in self.events]


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path / "bridge.crt")


@pytest.fixture
def make_certificate(tmp_path: Path) -> Callable[[datetime], Path]:
    def make(ends: datetime) -> Path:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bridge")])
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(ends - timedelta(days=400))
            .not_valid_after(ends)
            .sign(key, hashes.SHA256())
        )
        file = tmp_path / "bridge.crt"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return file

    return make


async def until_known(stand: Stand) -> None:
    """Let the watch run until it has told something."""
    running = asyncio.create_task(stand.watch.run())
    await eventually_async(
        lambda: stand.told or not math.isnan(stand.watch.ends[Link.MQTT]),
        what="the file is read",
    )
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_end_of_a_certificate_is_read_from_its_file(
    make_certificate: Callable[[datetime], Path],
) -> None:
    ends = datetime(2061, 5, 17, 12, 30, 1, tzinfo=UTC)  # Beyond 2049: GeneralizedTime.
    stand = Stand(make_certificate(ends))

    await until_known(stand)

    assert {Link.MQTT: ends.timestamp()} == stand.watch.ends
    assert [] == stand.told


async def test_a_file_that_is_no_certificate_is_told_and_its_end_is_not_known(
    tmp_path: Path,
) -> None:
    file = tmp_path / "bridge.crt"
    file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    stand = Stand(file)

    await until_known(stand)

    (event,) = stand.events
    assert ("certificate_unreadable", "mqtt", str(file)) == (
        event["event"],
        event["link"],
        event["path"],
    )
    assert math.isnan(stand.watch.ends[Link.MQTT])


def test_each_stage_is_told_once(stand: Stand) -> None:
    ends_s = NOW_S + 40 * DAY_S
    for day in (0, 5, 10, 11, 12, 26, 27, 33, 37, 38, 39, 39.5, 40, 41):
        stand.learn(ends_s, at_day=day)

    assert [
        ("certificate_expires_soon", 30.0),
        ("certificate_expires_soon", 14.0),
        ("certificate_expires_soon", 7.0),
        ("certificate_expires_soon", 3.0),
        ("certificate_expires_soon", 1.0),
        ("certificate_expired", 0.0),
    ] == [(each["event"], each["days_left"]) for each in stand.events]
    assert "warning" == stand.events[0]["level"]
    assert "error" == stand.events[-1]["level"]


def test_a_late_start_tells_only_where_it_stands(stand: Stand) -> None:
    stand.learn(NOW_S + 2.5 * DAY_S)
    stand.learn(NOW_S + 2.5 * DAY_S)

    assert ["certificate_expires_soon"] == stand.told


def test_a_renewed_certificate_is_told_and_begins_anew(stand: Stand) -> None:
    stand.learn(NOW_S + 2 * DAY_S)
    stand.learn(NOW_S + 20 * DAY_S, at_day=1)
    stand.learn(NOW_S + 400 * DAY_S, at_day=2)

    assert [
        "certificate_expires_soon",
        *("certificate_renewed", "certificate_expires_soon"),
        "certificate_renewed",
    ] == stand.told


def test_a_certificate_that_was_illegible_meanwhile_is_compared_with_the_one_before(
    stand: Stand,
) -> None:
    stand.learn(NOW_S + 90 * DAY_S)
    stand.learn("half a file")
    stand.learn(NOW_S + 400 * DAY_S)
    stand.learn("half a file")
    stand.learn(NOW_S + 400 * DAY_S)

    assert ["certificate_unreadable", "certificate_renewed", "certificate_unreadable"] == stand.told


def test_an_unreadable_file_is_told_once_for_each_reason(stand: Stand) -> None:
    for found in ("gone", "gone", "no rights", "no rights", NOW_S + 90 * DAY_S, "gone"):
        stand.learn(found)

    assert ["gone", "no rights", "gone"] == [each["error"] for each in stand.events]


def test_only_certificates_that_are_files_are_watched() -> None:
    both = BridgeConfig(
        mqtt=MqttSection(tls=MqttTls(cert_file="/etc/bridge.crt")),
        kafka=KafkaSection(properties={"ssl.certificate.location": "/etc/kafka.crt"}),
    )
    neither = BridgeConfig(
        mqtt=MqttSection(tls=MqttTls()),
        kafka=KafkaSection(properties={"ssl.certificate.location": Secret(env="WHERE")}),
    )

    assert {
        Link.MQTT: Path("/etc/bridge.crt"),
        Link.KAFKA: Path("/etc/kafka.crt"),
    } == certificate_files(both)
    assert {} == certificate_files(neither) == certificate_files(BridgeConfig())
