"""S11, the audit of what is locked: real pip-audit, and a service of our own that answers it."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.advisories import (
    CLEAN,
    FOUND,
    NOT_ASKED,
    Findings,
    Hole,
    documented,
    judge,
    read_report,
)
from tests.support.certificates import PROJECT
from tests.support.processes import free_port

RUNS = frozenset({"aiohttp"})
HOLE = Hole("aiohttp", "3.14.5", ("PYSEC-2026-1", "CVE-2026-1"), ("3.14.6",))
ADVISORY = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "a device can read another's telemetry",
    "affected": [
        {
            "package": {"name": "aiohttp", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


class AdvisoryService:
    """Answers as OSV does, and remembers what it was asked about."""

    def __init__(self, advisories: dict[str, Any]) -> None:
        self.asked: list[str] = []
        self.advisories = advisories
        self.url = ""


@contextmanager
def serving(advisories: dict[str, Any]) -> Iterator[AdvisoryService]:
    """Serve these advisories by the name of their package."""
    service = AdvisoryService(advisories)

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["content-length"])))
            name = query["package"]["name"]
            service.asked.append(name)
            found = service.advisories.get(name)
            body = json.dumps({} if found is None else {"vulns": [found]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        service.url = f"http://127.0.0.1:{server.server_port}/v1/query"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


def audit(url: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("pip_audit")
    return subprocess.run(
        [sys.executable, "-m", "tests.support.advisories", "--osv-url", url],
        cwd=PROJECT,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def locked(name: str) -> set[str]:
    """Return the packages of a lock that are for every platform."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z0-9-]+)==[^;\n]*$", text, re.MULTILINE))


# --- the whole way


def test_an_audit_asks_about_every_package_that_runs_and_passes_when_none_has_a_hole() -> None:
    with serving({}) as service:
        done = audit(service.url)

    assert (CLEAN, "") == (done.returncode, done.stderr)
    assert "no known hole" in done.stdout
    assert "aiohttp" in locked("requirements-runtime.lock")
    assert set() == locked("requirements-runtime.lock") - set(service.asked)


def test_a_known_hole_fails_the_audit_and_is_named_with_the_remedy() -> None:
    with serving({"aiohttp": ADVISORY}) as service:
        done = audit(service.url)

    assert FOUND == done.returncode
    assert "PYSEC-2026-1 = CVE-2026-1 (runs in the bridge); fixed in 99.0" in done.stderr


def test_an_audit_without_its_service_says_so_and_does_not_pass() -> None:
    done = audit(f"http://127.0.0.1:{free_port()}/v1/query")

    assert (NOT_ASKED, "") == (done.returncode, done.stdout)
    assert "nothing was audited, the advisory service could not be asked: " in done.stderr


# --- what a report comes to


def test_a_report_in_which_packages_were_skipped_is_no_clean_one() -> None:
    report = {"dependencies": [{"name": "aiohttp", "skip_reason": "Dependency not found"}]}

    code, lines = judge(read_report(json.dumps(report)), frozenset(), RUNS)

    assert NOT_ASKED == code
    assert "not audited, the service does not know them: aiohttp" in lines


def test_an_empty_report_is_no_clean_one() -> None:
    code, _ = judge(read_report('{"dependencies": []}'), frozenset(), RUNS)

    assert NOT_ASKED == code


def test_a_hole_that_is_documented_passes_under_any_of_its_names() -> None:
    findings = Findings(audited=1, skipped=(), holes=(HOLE,))

    codes = [judge(findings, frozenset({name}), RUNS)[0] for name in HOLE.names]

    assert [CLEAN, CLEAN] == codes


def test_a_hole_is_told_even_where_other_packages_were_skipped() -> None:
    code, lines = judge(Findings(audited=1, skipped=("rich",), holes=(HOLE,)), frozenset(), RUNS)

    assert FOUND == code
    assert "not audited, the service does not know them: rich" in lines


def test_what_is_documented_and_found_no_more_is_told() -> None:
    findings = Findings(audited=1, skipped=(), holes=())

    assert (
        CLEAN,
        [
            "documented, but not found any more: CVE-2020-1",
            "1 packages, no known hole but 0 documented",
        ],
    ) == judge(findings, frozenset({"CVE-2020-1"}), RUNS)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"dependencies": [{}, 1]}', "no JSON"])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever kind
        read_report(text)


def test_a_row_of_the_table_documents_an_advisory_and_a_mention_does_not() -> None:
    text = "| CVE-2026-7 | x | never reached |\n| GHSA-aaaa-bbbb-cccc | y | z |\nsee CVE-2026-8\n"

    assert {"CVE-2026-7", "GHSA-aaaa-bbbb-cccc"} == documented(text)
