"""The host's clock is doubted on evidence, and never on the word of one device."""

from collections.abc import Sequence

import pytest

from bridge.fleet.host_clock import DEVICES_MAX, FRESH_S, RELEASED_UNIX_S, Doubt, HostClock

NOW_UNIX_S = RELEASED_UNIX_S + 1e7
HOUR_S = 3_600.0
WEEK_S = 604_800.0


def host() -> HostClock:
    return HostClock(ahead_max_s=300.0, behind_max_s=WEEK_S)


def look(
    found: HostClock,
    drifts_s: Sequence[float] = (),
    *,
    now_s: float = 0.0,
    is_kept: bool | None = False,
    unix_s: float = NOW_UNIX_S,
) -> Doubt | None:
    for number, drift_s in enumerate(drifts_s):
        found.note([(b"d%d" % number, drift_s)], now_s)
    found.look(unix_s=unix_s, is_kept=is_kept, now_s=now_s)
    return found.doubt


@pytest.mark.parametrize(
    ("drifts_s", "is_kept", "expected"),
    [
        pytest.param([-HOUR_S] * 5, False, Doubt.FLEET_DISAGREES, id="the host is behind"),
        pytest.param([-HOUR_S] * 5, None, Doubt.FLEET_DISAGREES, id="the kernel does not say"),
        pytest.param([2 * WEEK_S] * 5, False, Doubt.FLEET_DISAGREES, id="far ahead"),
        pytest.param([-HOUR_S] * 5, True, None, id="a kernel that is sure is believed"),
        pytest.param([-HOUR_S] * 4, False, None, id="too few devices"),
        pytest.param([-200.0] * 5, False, None, id="within what validation allows"),
        pytest.param([HOUR_S] * 5, False, None, id="late by what validation allows"),
        pytest.param([-HOUR_S * n for n in range(1, 9)], False, None, id="each has another time"),
        pytest.param([-HOUR_S] * 7 + [0.0] * 3, False, None, id="three in ten say otherwise"),
        pytest.param([-HOUR_S] * 8 + [0.0], False, Doubt.FLEET_DISAGREES, id="one in nine does"),
        pytest.param([0.2] * 5, False, None, id="the fleet agrees with the host"),
    ],
)
def test_the_fleet_is_believed_only_where_it_agrees_and_nobody_keeps_the_clock(
    drifts_s: Sequence[float],
    is_kept: bool | None,  # noqa: FBT001 - a column
    expected: Doubt | None,
) -> None:
    assert expected == look(host(), drifts_s, is_kept=is_kept)


def test_before_the_release_no_clock_is_right_whatever_the_kernel_says() -> None:
    found = host()

    doubts = [
        look(found, is_kept=True, unix_s=0.0),
        look(found, is_kept=True),
        look(found, is_kept=False, unix_s=RELEASED_UNIX_S - 1),
        look(found, is_kept=False),
    ]

    assert [Doubt.BEFORE_RELEASE, None, Doubt.BEFORE_RELEASE, None] == doubts


def test_a_doubt_lasts_until_the_fleet_agrees_again_or_the_kernel_is_sure() -> None:
    found = host()
    look(found, [-HOUR_S] * 5)

    said_nothing = look(found, now_s=FRESH_S + 1)
    nearly = look(found, [-200.0] * 5, now_s=FRESH_S + 2)
    agrees = look(found, [0.1] * 5, now_s=FRESH_S + 3)
    look(found, [-HOUR_S] * 5, now_s=FRESH_S + 4)
    sure = look(found, now_s=FRESH_S + 5, is_kept=True)

    assert [Doubt.FLEET_DISAGREES, Doubt.FLEET_DISAGREES, None, None] == [
        said_nothing,
        nearly,
        agrees,
        sure,
    ]


def test_a_change_is_told_once() -> None:
    found = host()

    told = [
        found.look(unix_s=unix_s, is_kept=None, now_s=0.0)
        for unix_s in (NOW_UNIX_S, 0.0, 0.0, NOW_UNIX_S, NOW_UNIX_S)
    ]

    assert [False, True, False, True, False] == told


def test_who_was_heard_last_is_asked_and_memory_is_bounded() -> None:
    found = host()
    look(found, [-HOUR_S] * DEVICES_MAX)

    found.note([(b"again%d" % n, 0.0) for n in range(8)], 1.0)
    for number in range(DEVICES_MAX):
        found.note([(b"later%d" % number, 0.0)], 1.0)

    assert look(found, now_s=1.0) is None
    assert 0.0 == found.fleet_drift_s
