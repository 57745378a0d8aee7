import os
from pathlib import Path

import pytest

from bridge.cli.showcase.mosquitto import find_mosquitto, install_command
from bridge.errors import UnavailableError


def put_program(folder: Path) -> Path:
    folder.mkdir(parents=True)
    program = folder / "mosquitto"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_mosquitto_is_found_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = put_program(tmp_path / "tools")
    monkeypatch.setenv("PATH", str(tmp_path / "tools"))

    assert find_mosquitto() == str(program)


def test_mosquitto_is_found_in_the_sbin_beside_a_bin_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = put_program(tmp_path / "sbin")
    monkeypatch.setenv("PATH", os.pathsep.join(("/nowhere", str(tmp_path / "bin"))))

    assert find_mosquitto() == str(program)


def test_without_mosquitto_the_error_names_the_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UnavailableError) as caught:
        find_mosquitto()

    assert install_command() in str(caught.value)
    assert "mosquitto" in install_command()
