"""[trace]: the package, and the address of the collector."""

import subprocess
import sys
from pathlib import Path

import pytest

from bridge.config.sections import TraceSection
from bridge.config.trace_rules import check_trace


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("127.0.0.1:4318", "is no URL of a collector"),
        ("ftp://host/v1/traces", "is no URL of a collector"),
        ("http://host:99999/", "is no URL of a collector"),
        ("http://[::1/", "is no URL of a collector"),
        ("http://u:hush@host/", "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
def test_an_endpoint_that_is_no_address_is_refused_with_what_to_write(
    endpoint: str, problem: str
) -> None:
    (found,) = check_trace(TraceSection(endpoint=endpoint))

    assert ("trace", "endpoint") == found.path
    assert problem in found.text
    assert "hush" not in found.text


def test_a_collector_anywhere_is_fine() -> None:
    section = TraceSection(sample_ratio=0.5, endpoint="https://collector.example/v1/traces")

    assert [] == list(check_trace(section))


@pytest.mark.parametrize(
    ("ratio", "code"), [("0.1", 78), ("0.0", 0)], ids=["asked for", "not asked for"]
)
def test_a_missing_package_is_a_configuration_error_that_names_the_extra(
    tmp_path: Path, ratio: str, code: int
) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text(f"[trace]\nsample_ratio = {ratio}\n")
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from bridge.__main__ import main\n"
        f"sys.exit(main(['check', '--config', {str(config)!r}]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert code == done.returncode, done.stderr
    assert (code == 78) == ("mqtt-kafka-bridge[otel]" in done.stderr)
