"""`completion`: real shells complete real commands from what it writes."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.cli.completion import SHELLS
from bridge.errors import ExitCode
from tests.support.certificates import PROJECT
from tests.support.interactive_shell import PROMPT, InteractiveShell

MODULE_MISSING = "import sys; sys.modules['shtab'] = None; from bridge.__main__ import main;"
TOLD = "mqtt-kafka-bridge got:"


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture
def scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A directory with what `completion` writes for each shell, by its name."""
    pytest.importorskip("shtab")
    for shell in SHELLS:
        assert ExitCode.OK == main(["completion", shell])
        (tmp_path / f"completion.{shell}").write_text(capsys.readouterr().out)
    return tmp_path


@pytest.fixture
def place(scripts: Path) -> Path:
    """That directory with a program that says what it was given, and something to complete."""
    program = scripts / "bin" / "mqtt-kafka-bridge"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s" "{TOLD}"\nprintf " <%s>" "$@"\necho " end"\n')
    program.chmod(0o755)
    (scripts / "site").mkdir()
    return scripts


@contextlib.contextmanager
def ready_to_complete(place: Path, command: str, *lines: str) -> Iterator[InteractiveShell]:
    """Start a shell and let it read its script."""
    environment = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
    with InteractiveShell(command.split(), directory=place, environment=environment) as started:
        started.read_until(PROMPT)
        for line in lines:
            started.type(f"{line}\n")
            started.read_until(PROMPT)
        yield started


@pytest.fixture
def bash(place: Path) -> Iterator[InteractiveShell]:
    """A bash that completes."""
    with ready_to_complete(place, "bash --norc --noprofile -i", "source completion.bash") as shell:
        yield shell


@pytest.fixture
def zsh(place: Path) -> Iterator[InteractiveShell]:
    """A zsh that completes, from a directory of its path of functions."""
    (place / "functions").mkdir()
    (place / "completion.zsh").rename(place / "functions" / "_mqtt-kafka-bridge")
    lines = ("fpath=($PWD/functions $fpath)", "autoload -U compinit", "compinit -u -d $PWD/dump")
    with ready_to_complete(place, "zsh -f -i", *lines) as shell:
        yield shell


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        pytest.param("chec\t", "<check>", id="a command"),
        pytest.param("dlq rep\t", "<dlq> <replay>", id="a command of a command"),
        pytest.param("run --conf\t", "<run> <--config>", id="an option"),
        pytest.param("run --config site\t", "<run> <--config> <site/>", id="a path"),
        pytest.param("dlq show --payload he\t", "<dlq> <show> <--payload> <hex>", id="a choice"),
        pytest.param("install --monitoring si\t", "<install> <--monitoring> <site/>", id="DIR"),
        pytest.param("completion fi\t", "<completion> <fish>", id="a shell"),
        pytest.param("simulate --out\t", "<simulate> <--out-of-range>", id="of one command"),
    ],
)
def test_bash_completes_what_a_person_begins(
    typed: str, given: str, bash: InteractiveShell
) -> None:
    bash.type(f"mqtt-kafka-bridge {typed}\n")

    bash.read_until(TOLD)
    assert f" {given}" == bash.read_until(" end")


def test_bash_lists_every_command_at_two_tabs(bash: InteractiveShell) -> None:
    bash.type("mqtt-kafka-bridge \t\t")

    bash.read_until("\n")
    listed = bash.read_until(PROMPT).split()
    assert {"run", "check", "dlq", "config", "install", "completion", "demo"} <= set(listed)


@needs("zsh")
@pytest.mark.parametrize(
    ("typed", "given"),
    [
        pytest.param("dlq rep\t", "<dlq> <replay>", id="a command of a command"),
        pytest.param("run --conf\t", "<run> <--config>", id="an option"),
        pytest.param("dlq show --payload he\t", "<dlq> <show> <--payload> <hex>", id="a choice"),
    ],
)
def test_zsh_completes_what_a_person_begins(typed: str, given: str, zsh: InteractiveShell) -> None:
    zsh.type(f"mqtt-kafka-bridge {typed}\n")

    zsh.read_until(TOLD)
    assert f" {given}" == zsh.read_until(" end")


@needs("fish")
def test_fish_completes_a_command_and_its_options(scripts: Path) -> None:
    code = (
        "source completion.fish;"
        " complete --do-complete 'mqtt-kafka-bridge dlq rep';"
        " complete --do-complete 'mqtt-kafka-bridge run --conf'"
    )

    done = subprocess.run(
        ["fish", "--no-config", "-c", code],
        cwd=scripts,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(scripts)},
    )

    offered = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert ["replay", "--config"] == offered, done.stderr


def test_without_the_extra_it_is_named_with_the_command_that_brings_it() -> None:
    code = f"{MODULE_MISSING} sys.exit(main(['completion', 'bash']))"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert ExitCode.UNAVAILABLE == done.returncode
    assert "" == done.stdout
    assert (
        "mqtt-kafka-bridge: the shtab package is not installed; it comes with the extra completion:"
        " pip install 'mqtt-kafka-bridge[completion]'\n"
    ) == done.stderr
