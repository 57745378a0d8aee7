import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bridge.__main__ import main

TRIAL = """
[validation]
timestamp_age_max_s = 60
[shadow]
timestamp_age_max_s = 1e12
metrics_required = ["t"]
ranges.temperature = [0, 40]
"""
BATCH = '\n[[route]]\nfilter = "devices/+/telemetry"\nkind = "batch"\n'


def explained(
    config: str,
    payload: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> list[str]:
    """Give what `explain` says of the rules on trial."""
    path = tmp_path / "bridge.toml"
    path.write_text(config)
    sent = io.BytesIO(json.dumps(payload).encode())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=sent))
    code = main(["explain", "--config", str(path), "--mqtt-topic", "devices/d/telemetry"])
    lines = capsys.readouterr().out.splitlines()
    assert 0 == code
    return [line.removeprefix("shadow").strip() for line in lines if line.startswith("shadow")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"metrics": {"t": 1, "temperature": 41}},
            [
                (
                    "newly_fails: out_of_range: device d: metrics.temperature is 41, above 40, the"
                    " highest allowed (shadow.ranges)"
                ),
                "newly_passes: timestamp_old: device d: timestamp is ",
            ],
        ),
        ({"device_id": "another"}, ["not judged: "]),
        ({"metrics": []}, ["not judged: "]),
    ],
    ids=["both ways", "another device", "no metrics"],
)
def test_each_reason_that_the_rules_on_trial_would_change_is_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    expected: list[str],
) -> None:
    message = {"device_id": "d", "timestamp": "2020-01-01T00:00:00Z", "metrics": {"t": 1}}

    told = explained(TRIAL, {**message, **changes}, tmp_path, monkeypatch, capsys)

    assert len(expected) == len(told)
    assert all(line.startswith(start) for line, start in zip(told, expected, strict=True))


def test_what_fails_for_both_is_unchanged_and_without_rules_on_trial_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = {
        "device_id": "d",
        "timestamp": "2020-01-01T00:00:00Z",
        "metrics": {"t": 1, "humidity": 101},
    }
    same = "[shadow]\nmetrics_max = 9\n"

    assert ["unchanged"] == explained(same, message, tmp_path, monkeypatch, capsys)
    assert [] == explained("", message, tmp_path, monkeypatch, capsys)


def test_the_readings_of_a_batch_are_told_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = {"timestamp": "2020-01-01T00:00:00Z", "metrics": {"temperature": 1}}
    whole = {"device_id": "d", "batch_id": 1, "readings": [reading, {**reading, "x": 1}]}

    told = explained(TRIAL + BATCH, whole, tmp_path, monkeypatch, capsys)

    fails, passes = told
    assert fails.startswith(
        'newly_fails: schema_mismatch: 2 readings, device d: metrics lacks "t" (shadow.'
    )
    assert passes.startswith("newly_passes: timestamp_old: 2 readings, device d: ")
