import pytest

from bridge.config.sections import Route
from tests.pipeline.given import DEVICE, TIMESTAMP, Packet, carry, headers

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CARRIED = ("traceparent", "tracestate", "mqtt.retained")


def carried(packet: Packet, *names: str) -> dict[str, str]:
    route = Route(user_properties=names)
    found = headers(carry(packet, routes=(route,)))
    return {k: v for k, v in found.items() if k in CARRIED or k.startswith("mqtt.user.")}


def test_trace_context_goes_along() -> None:
    packet = Packet(user_properties=[("traceparent", PARENT), ("tracestate", "a=1,b=2")])

    assert {"traceparent": PARENT, "tracestate": "a=1,b=2"} == carried(packet)


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        PARENT.upper(),
        PARENT + "-00",
        PARENT + "\n",
        "ff" + PARENT[2:],
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        "01" + PARENT[2:] + "-" + "x" * 600,
    ],
)
def test_a_malformed_traceparent_is_dropped_with_its_tracestate(parent: str) -> None:
    packet = Packet(user_properties=[("traceparent", parent), ("tracestate", "a=1")])

    assert {} == carried(packet)


def test_a_traceparent_of_a_later_version_goes_along() -> None:
    later = "01" + PARENT[2:] + "-more"

    assert {"traceparent": later} == carried(Packet(user_properties=[("traceparent", later)]))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("a=1\n", None),
        ("é=1", None),
        ("a=" + "x" * 600, None),
        (",".join(f"k{i:02}=" + "x" * 96 for i in range(9)), 5 * 101 - 1),
    ],
    ids=["newline", "not ASCII", "one member too long", "members leave from the right"],
)
def test_tracestate_is_bounded(state: str, expected: int | None) -> None:
    found = carried(Packet(user_properties=[("traceparent", PARENT), ("tracestate", state)]))

    assert expected == (len(found["tracestate"]) if "tracestate" in found else None)


def test_only_the_routes_user_properties_become_headers_in_their_order() -> None:
    packet = Packet(user_properties=[("b", "2"), ("a", "1"), ("a", "again"), ("c", "3")])

    assert [("mqtt.user.a", "1"), ("mqtt.user.b", "2")] == list(
        carried(packet, "a", "b", "x").items()
    )


def test_the_value_of_a_user_property_is_cut_between_characters() -> None:
    packet = Packet(user_properties=[("a", "x" + "é" * 1_000)])

    assert "x" + "é" * 511 == carried(packet, "a")["mqtt.user.a"]


def test_a_thousand_user_properties_are_looked_at_and_no_more() -> None:
    sent = [(f"p{i}", "x" * 100) for i in range(1_001)]

    assert {"mqtt.user.p999": "x" * 100} == carried(Packet(user_properties=sent), "p999", "p1000")


def test_a_retained_copy_is_marked() -> None:
    assert {"mqtt.retained": "true"} == carried(Packet(retain=True))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("abc", "abc"),
        ("", TIMESTAMP),
        ("a:b", "a:b"),
        ("a\r\n\u202e", r"a\x0d\x0a\u202e~5b56bf2cf0c93be4"),
        (r"a\x0d\x0a\u202e", r"a\x0d\x0a\u202e"),
        ("é" * 300, "é" * 126 + "…"),
        ("x" * 300, "x" * 253),
    ],
    ids=["given", "empty", "colon", "controls", "escapes", "too many bytes", "too many characters"],
)
def test_the_publishers_own_idempotency_key_is_bounded_and_escaped(
    given: str, expected: str
) -> None:
    found = headers(carry(Packet(user_properties=[("idempotency-key", given)])))

    device, _, rest = found["idempotency-key"].partition(":")
    name, _, digest = rest.rpartition(":")
    assert DEVICE == device
    assert len(digest) == 16
    assert len(name.encode()) <= 256
    assert name.startswith(expected[:100])
    if len(given) < 100:
        assert expected == name
