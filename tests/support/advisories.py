"""`./dev audit`: pip-audit over the lock, and an answer that cannot be mistaken for a good one.

pip-audit says "No known vulnerabilities found", and exits 0, when its service knew none of the
packages, as behind a mirror that serves packages and no advisories. Here a package that nobody
was asked about is a failure of the audit. What is found passes only if SECURITY.md documents it.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

_REPOSITORY: Final = Path(__file__).resolve().parents[2]
_LOCK: Final = _REPOSITORY / "requirements.lock"
_RUNTIME_LOCK: Final = _REPOSITORY / "requirements-runtime.lock"
_SECURITY: Final = _REPOSITORY / "SECURITY.md"
_TIMEOUT_S: Final = 600.0
CLEAN: Final = 0
FOUND: Final = 1
NOT_ASKED: Final = 69
"""EX_UNAVAILABLE of sysexits.h, as the bridge's own one-shot commands use it."""


class Hole(msgspec.Struct, frozen=True):
    """One advisory on one locked package."""

    package: str
    version: str
    names: tuple[str, ...]
    """The advisory's id first, then what others call it."""
    fixed_in: tuple[str, ...] = ()


class Findings(msgspec.Struct, frozen=True):
    """What a report says, of every package that was to be audited."""

    audited: int
    skipped: tuple[str, ...]
    holes: tuple[Hole, ...]


def read_report(text: str) -> Findings:
    """Read what pip-audit wrote as JSON.

    Raises:
        ValueError: It is no such report.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(text)["dependencies"]
        skipped = tuple(each["name"] for each in packages if "skip_reason" in each)
        holes = tuple(
            Hole(
                package=each["name"],
                version=each["version"],
                names=(hole["id"], *hole["aliases"]),
                fixed_in=tuple(hole["fix_versions"]),
            )
            for each in packages
            for hole in each.get("vulns", ())
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no report of pip-audit: {error!r}") from error
    return Findings(audited=len(packages) - len(skipped), skipped=skipped, holes=holes)


def documented(text: str) -> frozenset[str]:
    """Find the advisories that SECURITY.md says why we live with, one a row of its table."""
    return frozenset(re.findall(r"^\| ((?:CVE|GHSA|PYSEC|OSV)-[\w-]+) \|", text, re.MULTILINE))


def judge(
    findings: Findings, accepted: frozenset[str], runs: frozenset[str]
) -> tuple[int, list[str]]:
    """Decide on the exit code, and what is to be read beside it."""
    open_holes = [hole for hole in findings.holes if not accepted.intersection(hole.names)]
    lines = [_describe(hole, runs) for hole in open_holes]
    found = {name for hole in findings.holes for name in hole.names}
    lines += [f"documented, but not found any more: {name}" for name in sorted(accepted - found)]
    if findings.skipped or not findings.audited:
        names = ", ".join(findings.skipped) or "not one package"
        lines.append(f"not audited, the service does not know them: {names}")
    if open_holes:
        return FOUND, [*lines, f"{len(open_holes)} known holes that SECURITY.md does not document"]
    if findings.skipped or not findings.audited:
        return NOT_ASKED, [*lines, "this says nothing about them; run it where advisories are"]
    live_with = len(findings.holes)
    lines.append(f"{findings.audited} packages, no known hole but {live_with} documented")
    return CLEAN, lines


def _describe(hole: Hole, runs: frozenset[str]) -> str:
    part = "runs in the bridge" if hole.package in runs else "a tool, not part of what runs"
    remedy = (
        f"fixed in {', '.join(hole.fixed_in)}: ./dev lock --upgrade"
        if hole.fixed_in
        else ("no fix yet: replace it, or say in SECURITY.md why it does no harm here")
    )
    return f"{hole.package} {hole.version}: {' = '.join(hole.names)} ({part}); {remedy}"


def _locked(lock: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z0-9-]+)==", lock.read_text(encoding="utf-8"), re.MULTILINE))


def _ask(options: argparse.Namespace) -> Findings:
    url = [] if options.osv_url is None else ["--osv-url", options.osv_url]
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", *url),
            *("--require-hashes", "--disable-pip", "--requirement", _LOCK),
            *("--cache-dir", _REPOSITORY / ".cache" / "audit"),
            *("--format", "json", "--progress-spinner", "off"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    try:
        return read_report(finished.stdout)
    except ValueError as error:
        said = finished.stderr.strip().splitlines() or [str(error)]
        raise ValueError(said[-1]) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Audit the lock, tell what was found, and return the exit code."""
    parser = argparse.ArgumentParser(prog="./dev audit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--osv-url", metavar="URL", help="another service that answers as OSV does")
    options = parser.parse_args(argv)
    try:
        findings = _ask(options)
    except (ValueError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(
            f"audit: nothing was audited, the advisory service could not be asked: {error}\n"
            "audit: run it where that service is reached, or name another with --osv-url\n"
        )
        return NOT_ASKED
    accepted = documented(_SECURITY.read_text(encoding="utf-8"))
    code, lines = judge(findings, accepted, _locked(_RUNTIME_LOCK))
    (sys.stdout if code == CLEAN else sys.stderr).writelines(f"audit: {line}\n" for line in lines)
    return code


if __name__ == "__main__":
    sys.exit(main())
