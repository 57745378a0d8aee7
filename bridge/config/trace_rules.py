"""Rules of [trace]: the package is there, and the address is one, without a secret in it."""

from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import urlsplit

from bridge.config.extras import missing_extra
from bridge.config.problems import Problem
from bridge.config.sections import TraceSection

PACKAGES = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def check_trace(section: TraceSection) -> Iterator[Problem]:
    """Yield what keeps spans from being sent, where they are asked for."""
    if section.sample_ratio and not is_package_there():
        yield Problem(
            ("trace", "sample_ratio"),
            f"{section.sample_ratio:g} asks for spans, but"
            f" {missing_extra('opentelemetry', 'otel')}; or write 0",
        )
    try:
        parts = urlsplit(section.endpoint)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname)
        has_secret = parts.password is not None or parts.username is not None
        _ = parts.port
    except ValueError:
        is_address = has_secret = False
    if has_secret:
        yield Problem(
            ("trace", "endpoint"),
            "holds a user or password; secrets stand in the environment variable"
            " OTEL_EXPORTER_OTLP_HEADERS",
        )
    elif not is_address:
        yield Problem(
            ("trace", "endpoint"),
            'is no URL of a collector; write one such as "http://127.0.0.1:4318/v1/traces"',
        )


def is_package_there() -> bool:
    """Tell whether the extra is installed, without importing it."""
    try:
        return all(find_spec(each) is not None for each in PACKAGES)
    except (ImportError, ValueError):
        return False
