"""`install --systemd`: what it writes, what it leaves alone, what it refuses."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.errors import ExitCode
from tests.support.certificates import PROJECT

UNITS = "etc/systemd/system"
UNIT = f"{UNITS}/mqtt-kafka-bridge.service"
CONFIGURATION = "etc/mqtt-kafka-bridge/bridge.toml"
SHIPPED = "/opt/mqtt-kafka-bridge"


def install(root: Path, *more: str, prefix: str = SHIPPED) -> int:
    return main(["install", "--systemd", "--prefix", prefix, "--root", str(root), *more])


def files_of(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_bare_machine_gets_units_and_a_configuration_and_is_told_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = install(tmp_path)
    told = capsys.readouterr().out

    assert ExitCode.OK == code
    assert {UNIT, f"{UNITS}/mqtt-kafka-bridge@.service", CONFIGURATION} == files_of(tmp_path)
    shipped = PROJECT / "deploy/systemd/mqtt-kafka-bridge.service"
    assert shipped.read_text() == (tmp_path / UNIT).read_text()
    assert (PROJECT / "config/bridge.toml").read_text() == (tmp_path / CONFIGURATION).read_text()
    assert [f"wrote: {tmp_path / UNIT}", "systemctl daemon-reload"] == [
        line.strip()
        for line in told.splitlines()
        if line == f"wrote: {tmp_path / UNIT}" or line.strip() == "systemctl daemon-reload"
    ]
    assert f"{SHIPPED}/bin/mqtt-kafka-bridge check --config /{CONFIGURATION}" in told


def test_what_is_written_can_be_read_by_the_service_and_credentials_only_by_root(
    tmp_path: Path,
) -> None:
    install(tmp_path)

    assert {0o644} == {mode_of(tmp_path / name) for name in files_of(tmp_path)}
    assert 0o755 == mode_of(tmp_path / "etc/mqtt-kafka-bridge")
    assert 0o700 == mode_of(tmp_path / "etc/credstore")


def test_the_unit_starts_the_program_where_it_is(tmp_path: Path) -> None:
    install(tmp_path, prefix="/srv/bridge")

    for name in ("mqtt-kafka-bridge", "mqtt-kafka-bridge@"):
        text = (tmp_path / UNITS / f"{name}.service").read_text()
        assert "\nExecStart=/srv/bridge/bin/mqtt-kafka-bridge run --config /etc/" in text
        assert SHIPPED not in text


def test_a_second_time_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(tmp_path)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files_of(tmp_path)}
    capsys.readouterr()

    assert ExitCode.OK == install(tmp_path)

    assert before == {name: (tmp_path / name).stat().st_mtime_ns for name in files_of(tmp_path)}
    assert 3 == capsys.readouterr().out.count("unchanged: ")


def test_the_operators_configuration_is_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = tmp_path / CONFIGURATION
    configuration.parent.mkdir(parents=True)
    configuration.write_text("[mqtt]\nport = 1884\n")

    assert ExitCode.OK == install(tmp_path)

    assert "[mqtt]\nport = 1884\n" == configuration.read_text()
    assert f"kept, since it is yours: {configuration}\n" in capsys.readouterr().out


def test_an_older_unit_is_replaced_and_kept_beside_the_new_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = tmp_path / UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nType=exec\n")

    assert ExitCode.OK == install(tmp_path)

    assert "Type=notify" in unit.read_text()
    assert "[Service]\nType=exec\n" == unit.with_name(f"{unit.name}.old").read_text()
    told = f"wrote: {unit} (the one before: mqtt-kafka-bridge.service.old)\n"
    assert told in capsys.readouterr().out


def test_what_was_kept_beside_stays_when_the_next_comes(tmp_path: Path) -> None:
    install(tmp_path)
    unit = tmp_path / UNIT
    contents = ("[Service]\nType=exec\n", "[Service]\nType=simple\n")
    for content in (*contents, contents[0]):
        unit.write_text(content)
        install(tmp_path)

    kept = sorted(unit.parent.glob(f"{unit.name}.old*"))
    assert [f"{unit.name}.old", f"{unit.name}.old.2"] == [each.name for each in kept]
    assert list(contents) == [each.read_text() for each in kept]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_where_the_one_before_would_go_is_left_alone(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    unit = tmp_path / UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\n")
    other = unit.with_name(f"{unit.name}.old")
    make(other)
    before = other.lstat().st_ino

    assert ExitCode.OK == install(tmp_path)

    assert before == other.lstat().st_ino
    assert "[Service]\n" == unit.with_name(f"{unit.name}.old.2").read_text()


@pytest.mark.parametrize(
    ("make", "reason"), [(Path.mkdir, "Is a directory"), (os.mkfifo, "it is no regular file")]
)
def test_what_is_no_file_where_the_unit_would_go_is_named(
    make: Callable[[Path], None],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unit = tmp_path / UNIT
    unit.parent.mkdir(parents=True)
    make(unit)

    assert ExitCode.UNAVAILABLE == install(tmp_path)

    assert f'"{unit}" could not be written: {reason}; move "{unit}" away\n' in (
        capsys.readouterr().err
    )


def test_a_link_is_left_alone_and_what_it_leads_to_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit, target = tmp_path / UNIT, tmp_path / "own.service"
    unit.parent.mkdir(parents=True)
    target.write_text("[Service]\n")
    unit.symlink_to(target)

    assert ExitCode.OK == install(tmp_path)

    assert (True, "[Service]\n") == (unit.is_symlink(), target.read_text())
    assert f"left alone, since it is a link to {target}: {unit}\n" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ExitCode.OK == install(tmp_path, "--dry-run")

    assert [] == list(tmp_path.iterdir())
    assert f"would write: {tmp_path / UNIT}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("hidden", "place"),
    [("/root", "/root"), ("/home/me", "/home"), ("/run/user/1000", "/run/user"), ("/tmp", "/tmp")],  # noqa: S108
)
def test_a_program_that_the_sandbox_hides_is_refused(
    hidden: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = install(tmp_path, prefix=hidden)

    assert ExitCode.USAGE == code
    assert [] == list(tmp_path.iterdir())
    assert (
        f'mqtt-kafka-bridge: "{hidden}" cannot be seen by the service, whose sandbox hides {place}:'
        " install the bridge with an interpreter outside, such as"
        " python3 -m venv /opt/mqtt-kafka-bridge, or name it with --prefix\n"
    ) == capsys.readouterr().err


@pytest.mark.parametrize("options", [["--systemd", "--root", ""], ["--monitoring", ""]])
def test_a_directory_without_a_name_is_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["install", "--dry-run", *options])

    assert ExitCode.USAGE == ended.value.code
    assert f"argument {options[-2]}: is empty; is a variable not set?" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["--systemd", "--monitoring"])
def test_what_no_terminal_should_see_is_escaped(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "a\x1b[2Jb\nc"
    where = ["--prefix", SHIPPED, "--systemd", "--root"] if kind == "--systemd" else [kind]

    assert ExitCode.OK == main(["install", *where, str(root)])

    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert f"wrote: {tmp_path}/a\\x1b[2Jb\\nc/" in told


@pytest.mark.parametrize("prefix", ["relative", "/with blank", "/100%", "/a$b", '/a"b', "/a\nb"])
def test_a_prefix_that_cannot_stand_in_a_unit_is_refused(
    prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ExitCode.USAGE == install(tmp_path, prefix=prefix)

    assert [] == list(tmp_path.iterdir())
    assert "cannot stand in a unit" in capsys.readouterr().err


def test_what_cannot_be_written_is_told_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etc").write_text("a file where a directory should be")

    assert ExitCode.UNAVAILABLE == install(tmp_path)

    assert (
        f'mqtt-kafka-bridge: "{tmp_path}/etc" could not be written: File exists;'
        " run it as root, or with --root DIR to write elsewhere\n"
    ) == capsys.readouterr().err


def test_a_kind_of_installation_has_to_be_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["install"])

    assert ExitCode.USAGE == ended.value.code
    assert "one of the arguments --systemd --monitoring is required" in capsys.readouterr().err
