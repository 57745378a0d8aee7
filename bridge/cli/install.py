"""`install`: systemd's units and a sample configuration, or monitoring files; then what to do."""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bridge.cli.arguments import directory
from bridge.cli.placing import Place, Placed
from bridge.cli.shipped import read_shipped
from bridge.config.paths import escaped, quoted_path
from bridge.errors import ExitCode, UsageError

PROGRAM: Final = "mqtt-kafka-bridge"
UNITS: Final = (f"{PROGRAM}.service", f"{PROGRAM}@.service")
UNIT_DIRECTORY: Final = Path("/etc/systemd/system")
CONFIGURATION: Final = Path("/etc/mqtt-kafka-bridge/bridge.toml")
CREDENTIALS: Final = Path("/etc/credstore")
SHIPPED_PREFIX: Final = "/opt/mqtt-kafka-bridge"
_HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
"""What the sandbox of the unit hides: ProtectHome, PrivateTmp."""
_IS_PLAIN: Final = re.compile(r"/[A-Za-z0-9/._+@-]*").fullmatch
"""What systemd takes in ExecStart= as it stands."""
MONITORING: Final = (
    "rules.yml",
    "rules_test.yml",
    "dashboard.json",
    "prometheus.yml",
    "grafana-dashboards.yml",
    "grafana-datasource.yml",
    "runbook.md",
)
"""The rules name sections of the runbook, so whoever gets the ones gets the other."""
DESCRIPTION: Final = """\
--systemd: write the units (one for a single bridge, a template for several) and, unless there is
one, a sample configuration. Your own changes of a unit belong in drop-ins.
--monitoring: write rules for Prometheus and their tests, a dashboard for Grafana, and the runbook.

An older file is replaced, and kept beside the new one with .old. Starts and enables nothing: it
prints what to type.
"""
NEXT: Final = """\

Next:
  edit {configuration}
  {program} check --config {configuration}
  systemctl daemon-reload
  systemctl enable --now {name}
  systemctl status {name}       # what it waits for, or how fast messages flow
  journalctl -u {name} -f
Secrets: root's files in {credentials}, such as {name}.mqtt-password; in the configuration
  password = {{ credential = "mqtt-password" }}
Upgrade: install the new version, run this again, then daemon-reload and
  systemctl restart {name}      # loses nothing: what is not safe yet comes again
Several bridges: systemctl enable --now {name}@NAME reads {directory}/NAME.toml
"""
NEXT_MONITORING: Final = """\

Next:
  promtool test rules {directory}/rules_test.yml
  Prometheus: name {directory}/rules.yml in rule_files, and take over the job of prometheus.yml
  Grafana: import {directory}/dashboard.json, or provision it as the grafana-*.yml do
Each alert has a section in runbook.md.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Say what `install` takes."""
    parser = subparsers.add_parser(
        "install",
        help="write systemd's units, or the monitoring files",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--systemd", action="store_true", help="units and a sample configuration")
    kind.add_argument(
        "--monitoring", metavar="DIR", type=directory, help="monitoring files, into this directory"
    )
    parser.add_argument(
        "--prefix",
        metavar="DIR",
        type=directory,
        help="systemd: where the bridge is installed, as the machine sees it that runs it (DIR/bin"
        " has the program); default: where this very program is",
    )
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=directory,
        help="systemd: write below this directory instead of /, to make an image or a package",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be written; writes nothing"
    )
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Write what is missing or older, and tell each file.

    Raises:
        UsageError: The unit could not start the program from where it is; an option of the other
            kind.
        UnavailableError: A file or directory cannot be written.
    """
    if arguments.monitoring is not None:
        _install_monitoring(arguments)
    else:
        _install_systemd(arguments)
    return ExitCode.OK


def _install_systemd(arguments: argparse.Namespace) -> None:
    root = Path("/") if arguments.root is None else arguments.root
    prefix = _prefix(arguments.prefix, root)
    place = Place(
        root=root,
        remedy="run it as root, or with --root DIR to write elsewhere",
        is_dry_run=arguments.dry_run,
    )
    for path, mode in ((CONFIGURATION.parent, 0o755), (CREDENTIALS, 0o700)):
        place.make_directory(path, mode)
    for placed in _units(prefix):
        sys.stdout.write(f"{place.put(placed)}\n")
    sys.stdout.write(
        NEXT.format(
            name=PROGRAM,
            program=prefix / "bin" / PROGRAM,
            configuration=CONFIGURATION,
            directory=CONFIGURATION.parent,
            credentials=CREDENTIALS,
        )
    )


def _install_monitoring(arguments: argparse.Namespace) -> None:
    for option in ("prefix", "root"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"option --{option} is for --systemd; --monitoring DIR says it all")
    place = Place(
        root=arguments.monitoring,
        remedy="name a directory that you may write",
        is_dry_run=arguments.dry_run,
    )
    place.make_directory(Path("/"), 0o755)
    for name in MONITORING:
        placed = Placed(path=Path("/", name), content=read_shipped(f"monitoring/{name}"))
        sys.stdout.write(f"{place.put(placed)}\n")
    sys.stdout.write(NEXT_MONITORING.format(directory=escaped(str(arguments.monitoring))))


def _prefix(given: Path | None, root: Path) -> Path:
    """Return where the program is, or why a unit cannot start it there."""
    prefix = Path(sys.prefix) if given is None else given
    if not _IS_PLAIN(str(prefix)):
        raise UsageError(
            f"prefix {quoted_path(prefix)} cannot stand in a unit: write an absolute path of"
            " letters, digits and /._+@-"
        )
    # In a virtual environment the interpreter is a link, and what it leads to has to be seen too.
    interpreter = root / (prefix / "bin" / "python").relative_to("/")
    for path in (prefix, interpreter.resolve() if root == Path("/") else prefix):
        for hidden in _HIDDEN:
            if path.is_relative_to(hidden):
                raise UsageError(
                    f"{quoted_path(path)} cannot be seen by the service, whose sandbox hides"
                    f" {hidden}: install the bridge with an interpreter outside, such as"
                    f" python3 -m venv {SHIPPED_PREFIX}, or name it with --prefix"
                )
    return prefix


def _units(prefix: Path) -> Iterator[Placed]:
    for unit in UNITS:
        text = read_shipped(f"systemd/{unit}")
        text = text.replace(f"ExecStart={SHIPPED_PREFIX}/", f"ExecStart={prefix}/")
        yield Placed(path=UNIT_DIRECTORY / unit, content=text)
    yield Placed(path=CONFIGURATION, content=read_shipped("bridge.toml"), is_operators=True)
