"""What may be opened where a file is named: a file, and nothing that makes one wait."""

import os
from pathlib import Path

import psutil
import pytest

from bridge.cli.showcase.publisher import MqttEndpoint
from bridge.config import load, on_disk, secrets
from bridge.config.regular_files import open_regular
from bridge.config.sections import (
    BridgeConfig,
    KafkaSection,
    MqttTls,
    OpsSection,
    Secret,
    SpoolSection,
)
from bridge.errors import ConfigError, UnavailableError
from bridge.runtime.tls import client_context


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    link = tmp_path / "link"
    link.symlink_to(path)

    with open_regular(link) as opened:
        assert b"content" == opened.read()


def test_a_fifo_without_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    with pytest.raises(OSError, match="it is no regular file"):
        open_regular(fifo)
    with pytest.raises(ConfigError, match="could not be read: it is no regular file"):
        secrets.read(Secret(file=str(fifo)), {})


def test_no_configuration_is_read_from_a_fifo(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    with pytest.raises(ConfigError, match="could not be read: it is no regular file"):
        load(fifo, environment={})


def test_no_library_is_given_a_fifo_to_open(tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    config = BridgeConfig(kafka=KafkaSection(properties={"ssl.ca.location": fifo}))
    endpoint = MqttEndpoint(host="localhost", port=1883, tls_ca=Path(fifo))

    found = [each.text for each in on_disk.check(config, {})]

    assert ["could not be read: it is no regular file"] == [
        text.partition(f'"{fifo}" ')[2].partition(";")[0] for text in found
    ]
    with pytest.raises(OSError, match="it is no regular file"):
        client_context(MqttTls(ca_file=fifo))
    with pytest.raises(UnavailableError, match="it is no regular file"):
        endpoint.tls_context()


def test_a_password_of_the_simulator_is_not_read_from_a_fifo(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    endpoint = MqttEndpoint(host="localhost", port=1883, username="fleet", password_file=fifo)

    with pytest.raises(UnavailableError, match="it is no regular file"):
        endpoint.password()


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/"])
def test_neither_a_device_nor_a_directory_is_a_file(path: str) -> None:
    before = psutil.Process().num_fds()

    with pytest.raises(OSError):  # noqa: PT011  which one depends on the kind
        open_regular(Path(path))

    assert before == psutil.Process().num_fds()


def test_what_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent")


@pytest.mark.parametrize(
    ("token", "is_one"),
    [("s3cret", True), ("é漢 tok", True), ("a\nb", False), (" a", False), ("a ", False)],
)
def test_a_token_is_one_that_a_client_can_send(tmp_path: Path, token: str, *, is_one: bool) -> None:
    path = tmp_path / "token"
    path.write_text(token)
    path.chmod(0o600)
    ops = OpsSection(token=Secret(file=str(path)))

    found = [each.path for each in on_disk.check(BridgeConfig(ops=ops), {})]

    assert found == ([] if is_one else [("ops", "token")])


def test_the_path_of_a_file_is_told_whole_however_long(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 200)
    config = BridgeConfig(spool=SpoolSection(directory=str(directory)))
    directory.write_text("in the way of a directory")

    with pytest.raises(ConfigError) as no_file:
        load(directory / "bridge.toml", environment={})
    with pytest.raises(ConfigError) as no_secret:
        secrets.read(Secret(file=str(directory / "password")), {})
    told = [
        *no_file.value.problems,
        *no_secret.value.problems,
        *(each.text for each in on_disk.check(config, {})),
    ]

    assert 3 == len(told)
    assert all(f'"{directory}' in each for each in told), told
    assert not any("..." in each for each in told), told


@pytest.mark.parametrize("name", ["no/such/ca.pem", "x" * 6_000])
def test_an_authority_that_is_not_there_is_told_before_librdkafka_refuses_it(
    tmp_path: Path, name: str
) -> None:
    location = str(tmp_path / name)
    config = BridgeConfig(
        kafka=KafkaSection(
            properties={"security.protocol": "SSL", "ssl.ca.location": location},
        )
    )

    (found,) = on_disk.check(config, {})

    assert ("kafka", "properties", "ssl.ca.location") == found.path
    assert f'file "{location}" could not be read: ' in found.text


@pytest.mark.parametrize("location", ["probe", "/etc"])
def test_where_librdkafka_looks_for_authorities_itself_nothing_is_missing(location: str) -> None:
    config = BridgeConfig(kafka=KafkaSection(properties={"ssl.ca.location": location}))

    assert [] == list(on_disk.check(config, {}))
