"""Certificates read by hand, compared with what made them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings, strategies

from bridge.runtime.live_check.certificate import from_der, from_pem
from bridge.runtime.live_check.host import SAY, judge_certificate, read_certificate

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def make(common_name: str | None, not_after: datetime) -> x509.Certificate:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "somebody")]
    if common_name is not None:
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1999, 1, 1, tzinfo=UTC))
        .not_valid_after(not_after)
        .sign(KEY, hashes.SHA256())
    )


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


@settings(max_examples=30, deadline=None)
@given(
    strategies.text(
        strategies.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=64
    ),
    strategies.datetimes(datetime(2000, 1, 1), datetime(9990, 1, 1)),  # noqa: DTZ001  naive by API
)
def test_name_and_end_are_those_it_was_made_with(common_name: str, naive: datetime) -> None:
    not_after = naive.replace(microsecond=0, tzinfo=UTC)

    found = from_der(der(make(common_name, not_after)))

    assert (common_name, not_after.timestamp()) == (found.common_name, found.not_after_unix)


def test_a_certificate_without_a_common_name_has_none() -> None:
    assert "" == from_der(der(make(None, NOW))).common_name


@settings(max_examples=200, deadline=None)
@given(strategies.binary(max_size=64), strategies.integers(0, 400))
def test_bytes_that_are_no_certificate_are_a_value_error_at_most(noise: bytes, at: int) -> None:
    whole = der(make("device", NOW))

    for hostile in (noise, whole[:at], whole[:at] + noise + whole[at + len(noise) :]):
        try:
            from_der(hostile)
        except ValueError:
            continue


def test_the_first_certificate_of_a_file_is_its_own(tmp_path: Path) -> None:
    pem = b"".join(
        make(name, NOW).public_bytes(serialization.Encoding.PEM) for name in ("leaf", "authority")
    )
    file = tmp_path / "chain.pem"
    file.write_bytes(b"some words\n" + pem)

    assert "leaf" == from_pem(file.read_text()).common_name


@pytest.mark.parametrize(
    ("days", "standing", "value"),
    [
        (-2.5, "FAIL", "ended 2.5 days ago"),
        (3, "warn", "3.0 days left"),
        (90, "ok", "90.0 days left"),
    ],
)
def test_a_certificate_is_judged_by_its_days(days: float, standing: str, value: str) -> None:
    certificate = from_der(der(make("bridge", NOW + timedelta(days=days))))

    point = judge_certificate(SAY, "certificate", certificate, NOW.timestamp())

    assert (standing, value) == (point.standing, point.value)


def test_a_file_that_is_no_certificate_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "not.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n")

    found = [read_certificate(str(file)), read_certificate(str(tmp_path / "absent"))]

    assert all(isinstance(each, str) and each.startswith("cannot be read") for each in found)
