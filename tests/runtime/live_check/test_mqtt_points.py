"""What follows from what an MQTT broker says, case by case."""

import msgspec
import pytest

from bridge.config.sections import MqttSection
from bridge.runtime.live_check import mqtt_points
from bridge.runtime.live_check.mqtt_link import Arrival, Greeting
from bridge.runtime.live_check.mqtt_points import CanaryFate
from bridge.runtime.live_check.points import Standing
from bridge.runtime.live_check.wanted import Later

SECTION = MqttSection(client_id="bridge-1")
NOTHING = Later(share_group="", broker_queue_messages=0, broker_queue_bytes=0, side_topics=())
PLAIN = Greeting(session_present=False)
FILTER = "devices/+/telemetry"
CANARY = Arrival("devices/canary/telemetry", b"canary", 1, 1)
LIVE = Arrival("devices/device-1/telemetry", b"{}", 1, 2)
AT_QOS_0 = Arrival("devices/device-2/telemetry", b"{}", 0, 0)


def standings(greeting: Greeting, later: Later = NOTHING) -> dict[str, str]:
    found = mqtt_points.judge_greeting(greeting, SECTION, later)
    return {point.name: str(point.standing) for point in found}


def test_a_plain_connack_is_ok_in_every_point() -> None:
    assert {"ok"} == set(standings(PLAIN).values())


@pytest.mark.parametrize(
    ("change", "name", "standing"),
    [
        ({"session_expiry_s": 3_600}, "session expiry", "FAIL"),
        ({"session_expiry_s": 604_800}, "session expiry", "ok"),
        ({"server_keep_alive_s": 5}, "keep alive", "ok"),
        ({"maximum_qos": 0}, "maximum QoS", "FAIL"),
        ({"maximum_qos": 1}, "maximum QoS", "ok"),
        ({"retain_available": False}, "retain", "warn"),
        ({"wildcards_available": False}, "wildcard subscriptions", "FAIL"),
        ({"assigned_client_id": "auto-1"}, "client id", "FAIL"),
    ],
)
def test_each_connack_property_has_its_point(
    change: dict[str, object], name: str, standing: str
) -> None:
    judged = standings(msgspec.structs.replace(PLAIN, **change))

    assert standing == judged.pop(name)
    assert {"ok"} == set(judged.values())


def test_with_a_share_group_the_check_says_what_is_void() -> None:
    later = msgspec.structs.replace(NOTHING, share_group="fleet")

    points = {each.name: each for each in mqtt_points.judge_greeting(PLAIN, SECTION, later)}
    refused = standings(msgspec.structs.replace(PLAIN, shared_available=False), later)

    assert Standing.WARN is points['share group "fleet"'].standing
    assert "order" in points['share group "fleet"'].value
    assert "FAIL" == refused['share group "fleet"']


@pytest.mark.parametrize(
    ("arrivals", "canary", "standing"),
    [
        pytest.param([LIVE], "set it", "ok", id="live-traffic"),
        pytest.param([CANARY], CanaryFate(0, CANARY), "ok", id="canary-back"),
        pytest.param([], CanaryFate(0, None), "FAIL", id="canary-lost"),
        pytest.param([], CanaryFate(0x87, None), "not proven", id="canary-refused"),
        pytest.param([], "set it", "not proven", id="silence"),
        pytest.param([LIVE, AT_QOS_0], "set it", "warn", id="qos-0"),
    ],
)
def test_only_a_message_proves_that_reading_is_allowed(
    arrivals: list[Arrival], canary: CanaryFate | str, standing: str
) -> None:
    assert standing == mqtt_points.judge_reading(FILTER, arrivals, canary).standing


@pytest.mark.parametrize(("code", "standing"), [(1, "ok"), (0, "FAIL"), (0x87, "FAIL")])
def test_a_filter_needs_exactly_qos_1(code: int, standing: str) -> None:
    (point,) = mqtt_points.judge_grants([FILTER], [code])

    assert standing == point.standing


@pytest.mark.parametrize(
    ("arrived", "were_more", "standing"),
    [(2_000, False, "ok"), (2_500, True, "ok"), (20, True, "warn"), (20, False, "not proven")],
)
def test_a_window_is_small_only_when_more_was_there_to_send(
    arrived: int, *, were_more: bool, standing: str
) -> None:
    assert standing == mqtt_points.judge_window(2_000, arrived, were_more=were_more).standing


@pytest.mark.parametrize(
    ("payloads", "standing"),
    [([b"0"], "ok"), ([b"0", b"7"], "warn"), ([], "not proven"), ([b"\x1b"], "not proven")],
)
def test_the_dropped_counter_is_a_warning_above_zero(payloads: list[bytes], standing: str) -> None:
    arrivals = [
        Arrival("$SYS/broker/publish/messages/dropped", payload, 0, 0) for payload in payloads
    ]

    assert standing == mqtt_points.judge_dropped(arrivals, is_granted=True).standing


@pytest.mark.parametrize(
    ("username", "common_name", "is_risky"),
    [
        (None, "", False),
        ("somebody", "", False),
        ("bridge-1", "", True),
        (None, "bridge-1", True),
        (None, "bridge-2", False),
    ],
)
def test_a_name_that_may_be_the_session_s_own_keeps_the_check_away(
    username: str | None, common_name: str, *, is_risky: bool
) -> None:
    section = msgspec.structs.replace(SECTION, username=username)

    assert is_risky == (mqtt_points.identity_in_use(section, common_name) is not None)


def test_a_common_name_that_is_not_the_client_id_is_a_warning() -> None:
    same, other = (
        mqtt_points.judge_client_id(SECTION, name, is_exclusive=False)
        for name in ("bridge-1", "bridge-2")
    )

    assert (Standing.OK, Standing.WARN) == (same.standing, other.standing)
    assert 'mqtt.client_id = "bridge-2"' in other.remedy
