"""mosquitto/make-certificates: what it makes, what it keeps, what it refuses."""

import shutil
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.certificates import make_certificates, run_make_certificates

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _common_name(path: Path) -> str:
    value = _certificate(path).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    assert isinstance(value, str)
    return value


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_each_device_gets_a_certificate_whose_common_name_is_its_id(tmp_path: Path) -> None:
    make_certificates(tmp_path, "--devices", "2", "--device", "pump_7")

    names = {path.name: _common_name(path) for path in (tmp_path / "devices").glob("*.crt")}

    assert names == {
        "device-1.crt": "device-1",
        "device-2.crt": "device-2",
        "pump_7.crt": "pump_7",
    }
    assert _common_name(tmp_path / "mqtt-kafka-bridge.crt") == "mqtt-kafka-bridge"


def test_the_server_certificate_names_this_host_and_the_container(tmp_path: Path) -> None:
    make_certificates(tmp_path, "--devices", "0")

    names = (
        _certificate(tmp_path / "server.crt")
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )

    assert names.get_values_for_type(x509.DNSName) == ["localhost", "mosquitto"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]


def test_keys_are_p_256_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, "--devices", "1")

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.key")}
    key = _certificate(made.server.cert_file).public_key()

    assert set(modes.values()) == {0o600}, modes
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    make_certificates(tmp_path, "--devices", "2")
    before = _contents(tmp_path)

    finished = run_make_certificates(tmp_path, "--devices", "2")

    assert finished.returncode == 0, finished.stderr
    assert "made" not in finished.stdout
    assert _contents(tmp_path) == before


def test_a_second_run_adds_what_is_missing_and_keeps_the_rest(tmp_path: Path) -> None:
    make_certificates(tmp_path, "--devices", "1")
    before = (tmp_path / "devices/device-1.crt").read_bytes()

    make_certificates(tmp_path, "--devices", "2")

    assert (tmp_path / "devices/device-1.crt").read_bytes() == before
    assert _common_name(tmp_path / "devices/device-2.crt") == "device-2"


def test_half_a_pair_is_refused_and_left_alone(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, "--devices", "1")
    made.server.key_file.unlink()
    before = _contents(tmp_path)

    finished = run_make_certificates(tmp_path)

    assert finished.returncode == 1
    assert "only one of .crt and .key is there" in finished.stderr
    assert _contents(tmp_path) == before


def test_a_certificate_of_another_authority_is_refused_and_left_alone(tmp_path: Path) -> None:
    ours = make_certificates(tmp_path / "ours", "--devices", "0")
    theirs = make_certificates(tmp_path / "theirs", "--devices", "0")
    shutil.copy(theirs.server.cert_file, ours.server.cert_file)
    before = _contents(ours.directory)

    finished = run_make_certificates(ours.directory)

    assert finished.returncode == 1
    assert "is not from this authority" in finished.stderr
    assert _contents(ours.directory) == before


def test_force_begins_again_with_a_new_authority(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, "--devices", "1", "--device", "gone")
    before = made.ca_file.read_bytes()

    make_certificates(tmp_path, "--devices", "1", "--force")

    assert made.ca_file.read_bytes() != before
    assert not (tmp_path / "devices/gone.crt").exists()


def test_negative_days_make_a_certificate_that_has_expired(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, "--devices", "0", "--days", "-2")

    ended_at = _certificate(made.server.cert_file).not_valid_after_utc
    expected = datetime.now(UTC) - timedelta(days=2)

    assert abs(ended_at - expected) < timedelta(minutes=5)
    assert _certificate(made.ca_file).not_valid_after_utc > datetime.now(UTC)


def test_a_revoked_device_is_on_the_list_and_no_other(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, "--devices", "2")

    make_certificates(tmp_path, "--revoke", "device-2")

    revoked = x509.load_pem_x509_crl((tmp_path / "ca.crl").read_bytes())
    serials = [entry.serial_number for entry in revoked]
    assert serials == [_certificate(made.device("device-2").cert_file).serial_number]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--device", "+"], 'device id "+" is not'),
        (["--device", "a/b"], 'device id "a/b" is not'),
        (["--device", "x" * 65], "is not 1 to 64 of"),
        (["--days", "soon"], '--days "soon" is not a whole number'),
        (["--days", "9999"], "--days is beyond"),
        (["--devices", "-1"], '--devices "-1" is not a whole number'),
        (["--surprise"], 'unknown option "--surprise"'),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, list) else "",
)
def test_a_wrong_option_is_named_and_nothing_is_made(
    tmp_path: Path, options: list[str], complaint: str
) -> None:
    directory = tmp_path / "certificates"

    finished = run_make_certificates(directory, *options)

    assert finished.returncode == 64
    assert complaint in finished.stderr
    assert not directory.exists()
