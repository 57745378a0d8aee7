"""A device over its limit is refused; a backlog, however it comes, is not one."""

from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given, settings, strategies as st

from bridge.fleet.limits import DEBT_S, Limit, Limits, limit_of_device, limit_of_route

DEVICE = b"sensor-1"
US = 1_000_000
NOW_US = 1_750_000_000 * US
"""The device's clock when the arrival clock shows 0."""


def limit(per_s: float = 10.0, burst: int = 20, bucket: bytes = b"") -> Limit:
    made = Limit.of(per_s, burst, bucket=bucket)
    assert made is not None
    return made


TEN = limit()
Message = tuple[float, float | None]
"""When it arrives and when it was measured, seconds; None: it has no timestamp."""


def admitted(
    messages: Iterable[Message], limits: Limits | None = None, device: bytes = DEVICE
) -> list[Message]:
    limits = Limits() if limits is None else limits
    return [
        (now_s, at_s)
        for now_s, at_s in messages
        if limits.admit(device, TEN, None if at_s is None else NOW_US + round(at_s * US), now_s)
    ]


def stream(per_s: float, span_s: float, *, start_s: float = 0.0) -> list[Message]:
    """Arrives as it is measured."""
    at = [start_s + number / per_s for number in range(round(per_s * span_s))]
    return [(each, each) for each in at]


def test_a_device_gets_its_burst_at_once_and_then_its_rate() -> None:
    at_once = [(0.0, 0.0)] * 100
    later = [(0.1 * step, 0.1 * step) for step in range(1, 51) for _ in range(5)]

    limits = Limits()

    assert 20 == len(admitted(at_once, limits))
    assert 50 == len(admitted(later, limits))


def test_the_bucket_never_holds_more_than_a_burst() -> None:
    limits = Limits()
    admitted([(0.0, 0.0)], limits)

    assert 20 == len(admitted([(9_000.0, 9_000.0)] * 100, limits))


@pytest.mark.parametrize("per_s", [1.0, 8.0, 10.0])
@pytest.mark.parametrize("outage_s", [60.0, 3_600.0])
@pytest.mark.parametrize("drain_s", [0.0, 1.0, 30.0])
def test_a_backlog_of_an_outage_is_never_limited_nor_is_what_follows_it(
    per_s: float, outage_s: float, drain_s: float
) -> None:
    before = stream(per_s, 60.0)
    backlog = [
        (60.0 + outage_s + drain_s * (at_s - 60.0) / outage_s, at_s)
        for at_s, _ in stream(per_s, outage_s, start_s=60.0)
    ]
    after = stream(per_s, 600.0, start_s=60.0 + outage_s + drain_s)
    messages = [*before, *backlog, *after]

    assert messages == admitted(messages)


def test_a_backlog_after_a_restart_of_the_bridge_is_not_limited() -> None:
    before, backlog = stream(8.0, 60.0), stream(8.0, 600.0, start_s=60.0)
    limits = Limits()
    admitted(before, limits)
    restarted = restart(limits)

    assert len(backlog) == len(admitted([(0.0, at_s) for _, at_s in backlog], restarted))


@pytest.mark.parametrize(
    ("timestamps", "bound"),
    [
        pytest.param(lambda _: 0.0, 10 * 10 + 20, id="constant"),
        pytest.param(lambda number: -0.002 * number, 10 * 10 + 20, id="backward"),
        pytest.param(lambda number: 0.1 * (number // 50), 10 * 10 + 20, id="in steps of 100 ms"),
        pytest.param(lambda number: float(number // 500), 10 * 10 + 20, id="in steps of 1 s"),
        pytest.param(lambda number: 0.1 * (number % 500), 10 * 50 + 20, id="round and round"),
        pytest.param(lambda _: None, 10 * 10 + 20, id="none at all"),
        pytest.param(lambda number: 300.0 * (number > 0), 10 * 10 + 20, id="one jump ahead"),
        pytest.param(lambda number: 0.1 * number, 10 * 500 + 20, id="100 ms further each"),
    ],
)
def test_500_a_second_for_10_s_get_the_larger_of_both_spans_and_a_burst(
    timestamps: Callable[[int], float | None], bound: int
) -> None:
    messages = [(0.002 * number, timestamps(number)) for number in range(5_000)]

    found = len(admitted(messages))

    assert bound - 25 <= found <= bound


def test_a_clock_that_is_set_back_by_an_hour_leaves_the_rate_to_the_arrival_clock() -> None:
    before = stream(8.0, 60.0)
    after: list[Message] = [
        (now_s, now_s - 3_600.0) for now_s, _ in stream(8.0, 3_700.0, start_s=60.0)
    ]
    too_many = [(3_760.0 + 0.002 * number, 160.0) for number in range(5_000)]
    limits = Limits()

    assert before + after == admitted(before + after, limits)
    assert 115 <= len(admitted(too_many, limits)) <= 120


def test_a_clock_that_stood_still_and_is_mended_brings_no_more_than_a_burst() -> None:
    limits = Limits()
    admitted([(0.1 * number, 0.0) for number in range(6_000)], limits)

    assert 20 == len(admitted([(600.0, 600.0)] * 100, limits))


def test_a_clock_that_breaks_after_a_long_backlog_costs_a_minute_at_most() -> None:
    limits = Limits()
    backlog = [(0.0, at_s) for _, at_s in stream(8.0, 6_000.0)]
    broken = [(now_s, 0.0) for now_s, _ in stream(1.0, 300.0)]

    assert backlog == admitted(backlog, limits)
    found = admitted(broken, limits)
    assert broken[:19] == found[:19], "its burst"
    assert [each for each in broken if each[0] >= DEBT_S + 2.0] == found[19:]


def test_a_clock_that_caught_up_after_it_was_set_back_brings_tokens_again() -> None:
    limits = Limits()
    set_back = [(now_s, now_s - 3_600.0) for now_s, _ in stream(9.0, 3_600.0)]
    caught_up = stream(9.0, 900.0, start_s=3_600.0)
    backlog: list[Message] = [(4_500.0, at_s) for _, at_s in stream(9.0, 60.0, start_s=4_500.0)]
    admitted([(0.0, 3_500.0)], limits)

    before = admitted([*set_back, *caught_up], limits)

    assert len(before) == len(set_back) + len(caught_up)
    assert backlog == admitted(backlog, limits)


def test_a_refused_message_moves_no_mark() -> None:
    limits = Limits()
    admitted([(0.0, 0.0)] * 20, limits)

    refused = admitted([(0.0, 0.05)] * 100, limits)
    next_one = admitted([(0.0, 0.1)], limits)

    assert ([], 1) == (refused, len(next_one))


steps = st.lists(
    st.tuples(
        st.floats(0.0, 2.0) | st.sampled_from([0.0, 0.002, 0.1, 1.0]),
        st.none() | st.floats(-50.0, 50.0) | st.sampled_from([0.0, 0.1, 0.5, 1.0]),
        st.integers(1, 60),
    ),
    max_size=60,
)
"""Arrival since the last, timestamp since the highest, how many of them."""


def history(given_steps: Sequence[tuple[float, float | None, int]]) -> list[Message]:
    messages: list[Message] = []
    now_s = highest_s = 0.0
    for after_s, ahead_s, count in given_steps:
        now_s += after_s
        at_s = None if ahead_s is None else highest_s + ahead_s
        highest_s = max(highest_s, at_s or 0.0)
        messages += [(now_s, at_s)] * count
    return messages


def spans_s(messages: Sequence[Message]) -> tuple[float, float]:
    if not messages:
        return 0.0, 0.0
    measured = [at_s for _, at_s in messages if at_s is not None]
    device_s = max(measured) - measured[0] if measured else 0.0
    return messages[-1][0] - messages[0][0], device_s


def may_be_admitted(span_s: float, bursts: int = 1) -> float:
    return bursts * 20 + 10 * span_s + 1e-3


@given(steps)
def test_no_history_gets_more_than_the_sum_of_both_spans_and_two_bursts(
    given_steps: list[tuple[float, float | None, int]],
) -> None:
    found = admitted(history(given_steps))

    assert len(found) <= may_be_admitted(sum(spans_s(found)), bursts=2)


@given(steps)
def test_lying_in_steps_gets_the_larger_span_and_a_burst_while_the_smaller_is_a_minute_at_most(
    given_steps: list[tuple[float, float | None, int]],
) -> None:
    whole = history(given_steps)
    while min(spans_s(whole)) > DEBT_S:
        whole = whole[: len(whole) // 2]

    found = admitted(whole)

    assert len(found) <= may_be_admitted(max(spans_s(found)))


@given(
    resolution_s=st.floats(0.01, 59.0),
    messages_per_s=st.integers(5, 100),
    span_s=st.integers(1, 300),
    ahead_s=st.floats(-3_600.0, 300.0),
)
@settings(deadline=None, max_examples=40)
def test_no_resolution_of_a_running_clock_is_paid_for_twice(
    resolution_s: float, messages_per_s: int, span_s: int, ahead_s: float
) -> None:
    messages = [
        (now_s, ahead_s + now_s // resolution_s * resolution_s)
        for now_s, _ in stream(messages_per_s, span_s)
    ]

    found = admitted(messages)

    assert len(found) <= may_be_admitted(max(spans_s(found)))


@given(steps)
def test_a_device_is_never_refused_what_the_arrival_clock_alone_would_give(
    given_steps: list[tuple[float, float | None, int]],
) -> None:
    messages = [(now_s, 0.0) for now_s, _ in history(given_steps)]
    tokens, before_s = 20.0, 0.0
    expected = 0
    for now_s, _ in messages:
        tokens, before_s = min(20.0, tokens + 10 * (now_s - before_s)), now_s
        if tokens >= 1.0 - 1e-4:
            tokens -= 1.0
            expected += 1

    assert abs(expected - len(admitted(messages))) <= 1


def test_devices_and_routes_with_a_limit_of_their_own_do_not_share_tokens() -> None:
    limits = Limits()
    strict = limit(1.0, 2, bucket=b"alarms")

    shared = [limits.admit(DEVICE, TEN, None, 0.0) for _ in range(30)]
    own = [limits.admit(DEVICE, strict, None, 0.0) for _ in range(30)]
    other = [limits.admit(b"sensor-2", TEN, None, 0.0) for _ in range(30)]

    assert [20, 2, 20] == [sum(shared), sum(own), sum(other)]


@pytest.mark.parametrize(
    ("kind", "priority", "own_per_s", "default_per_s", "expected"),
    [
        pytest.param("telemetry", "medium", None, 10.0, (10.0, 20), id="the default"),
        pytest.param("telemetry", "medium", None, 0.0, None, id="turned off"),
        pytest.param("telemetry", "medium", 3.0, 0.0, (3.0, 20), id="off, but the route has one"),
        pytest.param("telemetry", "medium", 0.0, 10.0, None, id="off for the route"),
        pytest.param("batch", "low", None, 10.0, (10.0, 20), id="a batch is one message"),
        pytest.param("opaque", "medium", None, 10.0, None, id="opaque is exempt"),
        pytest.param("opaque", "medium", 3.0, 10.0, (3.0, 20), id="opaque with a limit"),
        pytest.param("telemetry", "high", None, 10.0, None, id="high priority is exempt"),
        pytest.param("telemetry", "high", 3.0, 10.0, (3.0, 20), id="high priority with a limit"),
    ],
)
def test_the_limit_of_a_route_is_its_own_else_the_default_but_for_the_exempt(
    kind: str,
    priority: str,
    own_per_s: float | None,
    default_per_s: float,
    expected: tuple[float, int] | None,
) -> None:
    found = limit_of_route(
        kind=kind,
        priority=priority,
        per_device_per_s=own_per_s,
        default_per_s=default_per_s,
        burst=20,
        bucket=b"devices/+/x",
    )

    assert expected == (found and (found.per_s, found.burst))


def test_what_the_registry_says_of_a_device_replaces_what_it_says() -> None:
    assert limit(2.0, 20) == limit_of_device(TEN, 2.0, None)
    assert limit(10.0, 5) == limit_of_device(TEN, None, 5)
    assert limit_of_device(TEN, 0.0, None) is None
    assert limit_of_device(None, 2.0, 5) is None, "exempt stays exempt"


def test_the_detail_of_the_dead_letter_says_what_is_allowed() -> None:
    assert "device sends more than 2.5 messages/s, burst 7" == limit(2.5, 7).explain()


def restart(limits: Limits, *, is_settled: bool = True) -> Limits:
    restarted = Limits()
    for written in limits.dump(is_settled=is_settled):
        restarted.load(written)
    return restarted


def test_a_mark_survives_a_restart_so_the_same_timestamps_bring_nothing_again() -> None:
    limits = Limits()
    again = [(0.0, at_s) for _, at_s in stream(8.0, 100.0)]
    admitted(again, limits)

    assert 20 == len(admitted(again, restart(limits)))


def test_what_is_sent_again_after_a_crash_still_brings_its_tokens() -> None:
    limits = Limits()
    admitted(stream(8.0, 60.0), limits)
    for _ in limits.dump(is_settled=False):
        pass
    unsettled = [(0.0, at_s) for _, at_s in stream(8.0, 10.0, start_s=60.0)]
    admitted(unsettled, limits)

    assert unsettled == admitted(unsettled, restart(limits, is_settled=False))


def test_a_dump_has_every_mark_and_other_versions_are_refused() -> None:
    limits = Limits()
    for number in range(4_500):
        limits.admit(b"%d" % number, TEN, NOW_US + number * US, 0.0)
    limits.admit(b"no clock", TEN, None, 0.0)

    slices = list(limits.dump(is_settled=True))

    assert 5 == len(slices)
    assert 4_500 == restart(limits).devices
    with pytest.raises(ValueError, match='expected "limits" of version 1'):
        Limits().load(slices[0].replace(b"limits\x01", b"limits\x02"))
    with pytest.raises(ValueError, match='fleet state of "limits" cannot be read'):
        Limits().load(slices[0][:-1])


def test_memory_is_bounded_and_a_flood_of_devices_does_not_push_out_who_is_noisy() -> None:
    limits = Limits(devices_max=100)
    found = 0
    for step in range(100):
        found += len(admitted([(0.01 * step, 0.01 * step)] * 50, limits))
        for number in range(200):
            limits.admit(b"%d-%d" % (step, number), TEN, None, 0.01 * step)

    assert 100 == limits.devices
    assert found <= 20 + 10


def test_a_noisy_device_that_was_pushed_out_gets_no_fresh_burst() -> None:
    limits = Limits(devices_max=1)
    found = 0
    for step in range(100):
        found += len(admitted([(0.01 * step, 0.01 * step)] * 50, limits))
        limits.admit(b"other", TEN, None, 0.01 * step)

    assert 1 == limits.devices
    assert 20 + 9 <= found <= 20 + 10


def test_a_backlog_goes_on_where_it_was_when_its_device_is_pushed_out() -> None:
    limits = Limits(devices_max=1)
    backlog = [(1.0, at_s) for _, at_s in stream(8.0, 600.0)]
    found = []
    for at in range(0, len(backlog), 100):
        found += admitted(backlog[at : at + 100], limits)
        limits.admit(b"other", TEN, None, 1.0)

    assert backlog == found


@given(steps)
def test_being_pushed_out_and_coming_back_at_once_changes_nothing(
    given_steps: list[tuple[float, float | None, int]],
) -> None:
    messages = history([(0.0005 * after_s, ahead_s, n) for after_s, ahead_s, n in given_steps])
    crowded = Limits(devices_max=1)
    found = []
    for message in messages:
        found += admitted([message], crowded)
        crowded.admit(b"other", TEN, None, message[0])

    assert admitted(messages) == found


def test_an_idle_device_that_was_pushed_out_has_lost_nothing() -> None:
    limits = Limits(devices_max=16)
    admitted([(0.0, 0.0)] * 20, limits)
    for number in range(100):
        limits.admit(b"%d" % number, TEN, None, 10.0)

    assert 20 == len(admitted([(10.0, 10.0)] * 100, limits))
