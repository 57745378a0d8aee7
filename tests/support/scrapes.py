"""What Prometheus would make of scrapes: real samples, laid a minute apart, judged by promtool.

The rules look back for minutes, and no test can wait for them. So each scrape of a running bridge
stands for a minute: what it holds is what the bridge said, only the time in between is not waited
for. promtool's time begins at 0, which is the first scrape: instants (when the process started,
when a certificate ends) are moved there.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.promtool import Promtool

JOB: Final = "mqtt-kafka-bridge"
INSTANCE: Final = "bridge:9464"
_FIRING: Final = 'count by (alertname) (ALERTS{alertstate="firing",alertname!="%s"})'


class Scrapes:
    """A history of one bridge, and the rules that judge it."""

    def __init__(self, promtool: Promtool, rules: Path, directory: Path) -> None:
        self._promtool = promtool
        self._rules = rules
        self._file = directory / "scrapes.yml"
        self._history: list[Mapping[str, float]] = []
        """A minute each; empty where nobody answered."""
        self._began_s: float | None = None

    def take(self, samples: Mapping[str, float], *, minutes: int = 1) -> None:
        """Add what a scrape returned; for longer, if it stays so."""
        if self._began_s is None:
            self._began_s = time.time()
        moved = {
            name: value - self._began_s if _is_instant(name) else value
            for name, value in samples.items()
        }
        self._history += [moved] * minutes

    def assert_firing(self, *alerts: str, besides: str = "BridgeSlow") -> None:
        """Let promtool say that these alerts fire at the last minute, once each, and no others.

        `besides` is what may fire or not: how fast a bridge is, on a machine that others use too,
        is no matter of a test that asks for something else.
        """
        at = f"{len(self._history) - 1}m"
        case = {
            "interval": "1m",
            "input_series": self._series(),
            "promql_expr_test": [
                {
                    "expr": _FIRING % besides,
                    "eval_time": at,
                    "exp_samples": [
                        {"labels": f'{{alertname="{each}"}}', "value": 1} for each in alerts
                    ],
                }
            ],
        }
        whole = {"rule_files": [str(self._rules)], "evaluation_interval": "1m", "tests": [case]}
        self._file.write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML.
        answer = self._promtool.test_rules(self._file)
        assert answer.is_ok, answer.text

    def _series(self) -> list[dict[str, str]]:
        names = sorted({name for scrape in self._history for name in scrape})
        up = " ".join("1" if each else "0" for each in self._history)
        return [
            {"series": f'up{{instance="{INSTANCE}",job="{JOB}"}}', "values": up},
            *(
                {
                    "series": _labelled(name),
                    "values": " ".join(_written(each.get(name)) for each in self._history),
                }
                for name in names
            ),
        ]


def _is_instant(name: str) -> bool:
    return "_timestamp_seconds" in name or name == "process_start_time_seconds"


def _labelled(name: str) -> str:
    bare, _, rest = name.partition("{")
    inside = f",{rest[:-1]}" if rest else ""
    return f'{bare}{{instance="{INSTANCE}",job="{JOB}"{inside}}}'


def _written(value: float | None) -> str:
    if value is None:
        return "_"
    return {"nan": "NaN", "inf": "Inf", "-inf": "-Inf"}.get(str(value), repr(value))
