import pytest
from hypothesis import given, strategies as st

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


_LEVELS = st.sampled_from(["", "a", "b", "a.b", "[a]", "$SYS", "a\nb", "\u00e9"])
_TOPICS = st.lists(_LEVELS, min_size=1, max_size=4).map("/".join)
_FILTERS = st.tuples(
    st.lists(st.one_of(_LEVELS, st.just("+")), max_size=4), st.sampled_from([[], ["#"]])
).map(lambda both: "/".join([*both[0], *both[1]]) or "+")


def _by_levels(topic_filter: str, topic: str) -> bool:
    """Match as section 4.7 tells it, level by level."""
    own, sent = topic_filter.split("/"), topic.split("/")
    if own[0] in {"+", "#"} and topic.startswith("$"):
        return False
    if own[-1] == "#":
        own = own[:-1]
        if len(sent) < len(own):
            return False
        sent = sent[: len(own)]
    return len(own) == len(sent) and all(
        mine in {"+", theirs} for mine, theirs in zip(own, sent, strict=True)
    )


@given(topic_filter=_FILTERS, topic=_TOPICS)
def test_the_pattern_of_a_filter_matches_what_its_levels_match(
    topic_filter: str, topic: str
) -> None:
    found = TopicFilter(topic_filter)

    expected = _by_levels(topic_filter, topic)
    assert expected == found.matches(topic)
    levels = topic_filter.split("/")
    if "+" in levels:
        device_id = topic.split("/")[levels.index("+")] if expected else None
        assert device_id == found.device_id_from(topic)
