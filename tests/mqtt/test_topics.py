import pytest

from bridge.mqtt.topics import TopicFilter

MATCHES = [
    ("devices/+/telemetry", "devices/d1/telemetry", True),
    ("devices/+/telemetry", "devices//telemetry", True),
    ("devices/+/telemetry", "devices/d1/status", False),
    ("devices/+/telemetry", "devices/d1/telemetry/", False),
    ("devices/+/telemetry", "/devices/d1/telemetry", False),
    ("devices/+/telemetry", "devices/d1/x/telemetry", False),
    ("devices/+/telemetry", "devices/d1", False),
    ("devices/+/telemetry", "Devices/d1/telemetry", False),
    ("sport/tennis/player1/#", "sport/tennis/player1", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/tennis/player1/#", "sport/tennis/player2", False),
    ("sport/#", "sport", True),
    ("sport/#", "sports", False),
    ("#", "a/b", True),
    ("#", "$SYS/uptime", False),
    ("+/monitor/Clients", "$SYS/monitor/Clients", False),
    ("$SYS/#", "$SYS/uptime", True),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+", "/finance", False),
    ("devices/+/#", "devices/d1", True),
    ("devices/+/#", "devices/d1/a/b", True),
]


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"), MATCHES, ids=[f"{f} {t}" for f, t, _ in MATCHES]
)
def test_a_filter_matches_as_the_specification_says(
    topic_filter: str, topic: str, *, expected: bool
) -> None:
    assert expected == TopicFilter(topic_filter).matches(topic)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("devices/+/telemetry", "devices/d1/telemetry", "d1"),
        ("devices/+/telemetry", "devices//telemetry", ""),
        ("devices/+/telemetry", "devices/d1/status", None),
        ("+/telemetry", "d1/telemetry", "d1"),
        ("+/telemetry", "$SYS/telemetry", None),
        ("a/b/+", "a/b/c", "c"),
        ("devices/+/#", "devices/d1", "d1"),
        ("devices/#", "devices/d1", None),
    ],
)
def test_the_device_id_is_the_level_at_the_plus(
    topic_filter: str, topic: str, expected: str | None
) -> None:
    assert expected == TopicFilter(topic_filter).device_id_from(topic)
