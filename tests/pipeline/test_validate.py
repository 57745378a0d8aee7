from typing import Any

import pytest

from bridge.config.sections import ValidationSection
from tests.pipeline.given import RECEIVED, carry, message, value, verdict

MISMATCHES: list[tuple[str, bytes, str]] = [
    ("a list", b"[]", "message is a list of 0, expected an object"),
    ("a number", b"3", "message is 3, expected an object"),
    ("null", b"null", "message is null, expected an object"),
    ("device_id missing", message(device_id=...), "device_id is missing"),
    (
        "device_id null",
        message(device_id=None),
        "device_id is null, expected 1 to 64 of A-Za-z0-9_-",
    ),
    ("device_id number", message(device_id=7), "device_id is 7, expected 1 to 64 of A-Za-z0-9_-"),
    ("device_id empty", message(device_id=""), 'device_id is "", expected 1 to 64 of A-Za-z0-9_-'),
    (
        "device_id with a newline",
        message(device_id="dev-0001\n"),
        r'device_id is "dev-0001\x0a", expected 1 to 64 of A-Za-z0-9_-',
    ),
    (
        "device_id of 65",
        message(device_id="d" * 65),
        f'device_id is "{"d" * 63}…", expected 1 to 64 of A-Za-z0-9_-',
    ),
    ("timestamp missing", message(timestamp=...), "timestamp is missing"),
    (
        "timestamp null",
        message(timestamp=None),
        "timestamp null is neither an RFC 3339 string nor a number",
    ),
    (
        "timestamp true",
        message(timestamp=True),
        "timestamp true is neither an RFC 3339 string nor a number",
    ),
    ("timestamp of words", message(timestamp="now"), 'timestamp "now" is not RFC 3339'),
    ("metrics missing", message(metrics=...), "metrics is missing"),
    ("metrics null", message(metrics=None), "metrics is null, expected an object"),
    ("metrics list", message(metrics=[1]), "metrics is a list of 1, expected an object"),
    ("metrics empty", message(metrics={}), "metrics has 0 entries, expected 1 to 1000"),
    (
        "metrics of 1001",
        message(metrics={f"m{i}": i for i in range(1_001)}),
        "metrics has 1001 entries, expected 1 to 1000",
    ),
    (
        "metric name empty",
        message(metrics={"": 1}),
        'metric name "" has 0 characters, expected 1 to 128',
    ),
    (
        "metric name of 129",
        message(metrics={"a": 1, "m" * 129: 1}),
        f'metric name "{"m" * 63}…" has 129 characters, expected 1 to 128',
    ),
    (
        "metric object",
        message(metrics={"a": {"x": 1}}),
        'metric "a" is an object of 1, expected a number, string, boolean or null',
    ),
    (
        "metric list",
        message(metrics={"ok": 1, "a": [1, 2]}),
        'metric "a" is a list of 2, expected a number, string, boolean or null',
    ),
    ("metadata null", message(metadata=None), "metadata is null, expected an object"),
    ("metadata text", message(metadata="x"), 'metadata is "x", expected an object'),
]


@pytest.mark.parametrize(
    ("payload", "detail"), [case[1:] for case in MISMATCHES], ids=[c[0] for c in MISMATCHES]
)
def test_a_message_of_another_shape_is_a_schema_mismatch(payload: bytes, detail: str) -> None:
    assert ("schema_mismatch", "schema", detail) == verdict(carry(payload))


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": ...},
        {"metadata": {}},
        {"metadata": {"nested": {"deep": [1, {"x": None}]}}},
        {"metrics": {"m" * 128: 1}},
        {"metrics": {"é" * 128: 1, "b" * 128: 2}},
        {"metrics": {f"m{i}": i for i in range(1_000)}},
        {"metrics": {"a": 1, "b": 1.5, "c": "text", "d": True, "e": None, "f": 2**200}},
        {"anything": [1, {"else": "stays"}], "": 0},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_message_of_the_right_shape_passes_whole(changes: dict[str, Any]) -> None:
    sent = {k: v for k, v in changes.items() if v is not ...}

    record = value(carry(message(**changes)))

    assert sent == {name: record[name] for name in sent}


def test_a_message_of_another_device_is_a_device_mismatch() -> None:
    assert (
        "device_mismatch",
        "schema",
        'device_id is "dev-0002", but the MQTT topic is that of "dev-0001"',
    ) == verdict(carry(message(device_id="dev-0002")))


BOUNDS = ValidationSection(timestamp_future_max_s=10, timestamp_age_max_s=100)
NOW_S = RECEIVED.unix_us // 1_000_000


@pytest.mark.parametrize(
    ("sent", "reason", "detail"),
    [
        (
            NOW_S + 11,
            "timestamp_future",
            f"timestamp {NOW_S + 11} is 11 s ahead of the server clock, at most 10 s",
        ),
        (
            "2026-11-23T17:35:35.1Z",
            "timestamp_future",
            'timestamp "2026-11-23T17:35:35.1Z" is 10.1 s ahead of the server clock, at most 10 s',
        ),
        (
            NOW_S - 101,
            "timestamp_old",
            f"timestamp {NOW_S - 101} is 101 s behind the server clock, at most 100 s",
        ),
        (
            "0001-01-01T00:00:00+23:59",
            "timestamp_old",
            'timestamp "0001-01-01T00:00:00+23:59" is before the year 1',
        ),
        (
            10**4_000,
            "timestamp_future",
            "timestamp an integer of 13288 bits is after the year 9999",
        ),
        (-1e300, "timestamp_old", "timestamp -1e+300 is before the year 1"),
    ],
    ids=lambda case: str(case)[:30] if not isinstance(case, int) else "",
)
def test_a_timestamp_out_of_bounds_is_told_by_how_much(
    sent: object, reason: str, detail: str
) -> None:
    assert (reason, "schema", detail) == verdict(carry(message(timestamp=sent), validation=BOUNDS))


@pytest.mark.parametrize("sent", [NOW_S + 10, NOW_S - 100, NOW_S])
def test_a_timestamp_on_its_bound_passes(sent: int) -> None:
    record = value(carry(message(timestamp=sent), validation=BOUNDS))

    assert float(NOW_S - sent) == record["time_drift_seconds"]
