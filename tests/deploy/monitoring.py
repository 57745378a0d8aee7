"""The files of deploy/monitoring, parsed, and an exposition with every series that there is."""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest

from bridge.observe.counters import Counters, LatencyHistogram
from bridge.observe.metrics import BuildInfo, Gauges, Metrics
from tests.support.certificates import PROJECT

MONITORING: Final = PROJECT / "deploy" / "monitoring"
RULES: Final = MONITORING / "rules.yml"
RULES_TEST: Final = MONITORING / "rules_test.yml"
_NAME: Final = re.compile(
    r"\b((?:bridge|ingestion|process)_[a-z0-9_]+|bridge:[a-z0-9_:]+)(?:\{([^}]*)\})?"
)
_MATCHER: Final = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')


class Quiet:
    """A log that left nothing out."""

    lines_suppressed = 0
    lines_lost = 0


def gauges(**facts: Any) -> Gauges:
    """Give what goes up and down in a bridge that has nothing to do."""
    whole: dict[str, Any] = {
        "in_flight": 0,
        "residue": 0,
        "oldest_unsettled_s": 0.0,
        "window_used_ratio": 0.0,
        "queue_depth": 0,
        "active_devices": 0,
        "dedup_window_s": 0.0,
        "is_ready": True,
        "parts_ready": {"mqtt": True, "kafka": True, "spool": True},
    }
    return Gauges(**{**whole, **facts})


def exposition(counters: Counters | None = None, **facts: Any) -> str:
    """Write what `/metrics` of such a bridge answers."""
    metrics = Metrics(
        counters=counters or Counters(),
        latency=LatencyHistogram(),
        gauges=lambda: gauges(**facts),
        build=BuildInfo(version="1", python="3", librdkafka="2"),
        log=Quiet(),
    )
    return metrics.render().decode()


def series(text: str) -> list[tuple[str, dict[str, str]]]:
    """List every series of an exposition: its name and labels."""
    found = []
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, rest = line.rpartition(" ")[0].partition("{")
            found.append((name, dict(re.findall(r'(\w+)="([^"]*)"', rest))))
    return found


class Selector(msgspec.Struct, frozen=True):
    """One place where a query names a metric."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]

    def matches(self, labels: dict[str, str]) -> bool:
        """Tell whether a series with these labels is chosen; `instance` is Prometheus' own."""
        return all(_holds(labels, *each) for each in self.matchers if each[0] != "instance")


def _holds(labels: dict[str, str], name: str, relation: str, value: str) -> bool:
    has = labels.get(name)
    if has is None:
        return False
    if relation == "=~":
        return re.fullmatch(value, has) is not None
    return (has == value) == (relation == "=")


def selectors(query: str) -> Iterator[Selector]:
    """Find the metrics of a query."""
    for found in _NAME.finditer(query):
        matchers = tuple(each.groups() for each in _MATCHER.finditer(found[2] or ""))
        yield Selector(found[1], matchers)  # type: ignore[arg-type]  # three groups each


def read_yaml(name: str) -> Any:
    """Parse one of the files."""
    yaml: Any = pytest.importorskip("yaml")
    return yaml.safe_load((MONITORING / name).read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    """List the rules of all groups."""
    return [rule for group in read_yaml("rules.yml")["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """List the rules that call somebody."""
    return [rule for rule in rules() if "alert" in rule]
