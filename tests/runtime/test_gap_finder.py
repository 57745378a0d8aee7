"""What counts as a gap: sessions that are gone, messages that the broker dropped, no reading."""

import asyncio
import errno
from pathlib import Path

import pytest

from bridge.mqtt.events import BrokerDropsReported, CanaryMissed, CanaryReturned
from bridge.runtime import clock
from tests.runtime.gap_stand import EXPIRY_S, FILTER, Stand

REFUSED = f"[Errno {errno.ECONNREFUSED}] Connect call failed ('127.0.0.1', 1883)"


async def ended(stand: Stand, *, away_s: float = 0.0) -> None:
    """Stop in good order, so long ago."""
    await stand.finder.close(clock.monotonic_s() - away_s)


async def test_a_first_start_is_no_gap(tmp_path: Path) -> None:
    stand = Stand(tmp_path)

    assert not stand.is_session_expected
    stand.connect(session_present=False)
    stand.subscribe()

    assert [] == stand.gaps
    assert [] == stand.events("session_lost")
    await ended(stand)


async def test_a_session_that_an_earlier_process_had_and_is_gone_is_a_gap_of_each_filter(
    tmp_path: Path,
) -> None:
    first = Stand(tmp_path)
    first.connect(session_present=False)
    first.subscribe("a/+", "b/+")
    await ended(first, away_s=100.0)

    stand = Stand(tmp_path)
    stand.connect(session_present=False)
    assert [] == stand.gaps  # It ends with the subscription.
    stand.subscribe("a/+", "b/+", "new/+")

    (lost,) = stand.events("session_lost")
    assert 100 <= lost["was_away_s"] < 130
    assert ["a/+", "b/+"] == [each["filter"] for each in stand.gaps]
    for gap in stand.gaps:
        assert {"type", "client_id", "filter", "from", "to", "cause"} == set(gap)
        assert ("session_lost", "b1", "session_lost") == (
            gap["type"],
            gap["client_id"],
            gap["cause"],
        )
        assert gap["from"] < gap["to"]
        assert gap["to"].endswith("Z")
    assert 2 == stand.counters.gaps["session_lost"]
    assert [("gaps", b"b1")] * 2 == [each[:2] for each in stand.producer.taken]
    await ended(stand)


async def test_away_for_longer_than_the_granted_expiry_the_session_expired(tmp_path: Path) -> None:
    first = Stand(tmp_path)
    first.connect(session_present=False, expiry_s=60)
    first.subscribe()
    await ended(first, away_s=61.0)

    stand = Stand(tmp_path)
    stand.connect(session_present=False)
    stand.subscribe()

    assert ["session_expired"] == [each["cause"] for each in stand.gaps]
    assert EXPIRY_S == stand.memory.now.session_expiry_s
    await ended(stand)


async def test_a_session_gone_after_the_port_was_closed_was_lost_by_a_restart(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    stand.connect(session_present=False)
    stand.subscribe()
    stand.finder.note_ended(clock.monotonic_s())
    stand.finder.note_connect_failed("no connection within 10 s")
    stand.finder.note_connect_failed(REFUSED)

    stand.connect(session_present=False)
    stand.subscribe()

    assert ["broker_restarted"] == [each["cause"] for each in stand.gaps]
    await ended(stand)


async def test_another_broker_or_client_id_had_another_session(tmp_path: Path) -> None:
    first = Stand(tmp_path)
    first.connect(session_present=False)
    first.subscribe()
    await ended(first)

    stand = Stand(tmp_path, address="another:1883")

    assert not stand.is_session_expected
    await ended(stand)


async def test_a_new_session_that_dies_before_it_is_subscribed_does_not_hide_the_gap(
    tmp_path: Path,
) -> None:
    first = Stand(tmp_path)
    first.connect(session_present=False)
    first.subscribe()
    await ended(first, away_s=50.0)
    second = Stand(tmp_path)
    second.connect(session_present=False)
    await ended(second)

    stand = Stand(tmp_path)
    stand.connect(session_present=True)
    stand.subscribe()

    assert ["session_lost"] == [each["cause"] for each in stand.gaps]
    assert [] == stand.events("session_lost")  # The second one said it.
    await ended(stand)


async def test_drops_while_nobody_watched_are_seen_at_the_next_start(tmp_path: Path) -> None:
    first = Stand(tmp_path)
    first.connect(session_present=False)
    first.subscribe()
    first.finder.note(BrokerDropsReported(5), (FILTER,))
    await ended(first, away_s=500.0)
    assert [] == first.gaps

    stand = Stand(tmp_path)
    stand.connect(session_present=True)
    stand.subscribe()
    stand.finder.note(BrokerDropsReported(12), (FILTER,))

    (gap,) = stand.gaps
    assert ("broker_dropped", "broker_dropped", "#", 7) == (
        gap["type"],
        gap["cause"],
        gap["filter"],
        gap["dropped"],
    )
    (event,) = stand.events("broker_dropped_messages")
    assert (7, 12) == (event["dropped"], event["total"])
    assert 7 == stand.counters.broker_dropped
    assert 1 == stand.counters.gaps["broker_dropped"]
    await ended(stand)


async def test_a_count_that_begins_anew_is_a_restart_and_only_what_it_counts_is_a_gap(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    stand.connect(session_present=False)
    for count in (90, 0, 3):
        stand.finder.note(BrokerDropsReported(count), ())

    assert [3] == [each["dropped"] for each in stand.gaps]
    assert 1 == len(stand.events("broker_drop_count_reset"))
    await ended(stand)


async def test_reading_that_is_forbidden_is_a_gap_that_stays_open_until_it_is_allowed(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    stand.connect(session_present=False)
    stand.subscribe()

    stand.finder.note(CanaryMissed(FILTER, 10.0, is_first=True), (FILTER,))
    stand.finder.note(CanaryMissed(FILTER, 10.0, is_first=False), (FILTER,))
    stand.finder.note(CanaryReturned(FILTER, 0.1, is_recovered=True), (FILTER,))
    stand.finder.note(CanaryReturned(FILTER, 0.1, is_recovered=False), (FILTER,))

    opened, closed = stand.gaps
    assert opened["is_open"]
    assert "is_open" not in closed
    assert opened["from"] == closed["from"]
    assert opened["to"] <= closed["to"]
    assert 1 == stand.counters.gaps["reading_forbidden"]
    assert 1 == len(stand.events("reading_forbidden_suspected"))
    assert 1 == len(stand.events("reading_recovered"))
    await ended(stand)


# ---------------------------------------------------------------- the memory


async def test_what_cannot_be_written_is_said_once_and_the_bridge_goes_on(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    stand = Stand(blocked / "state")

    for _ in range(3):
        stand.connect(session_present=False)
        stand.subscribe()
        await asyncio.sleep(0)
    await ended(stand)

    assert 1 == len(stand.events("session_memory_failed"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": 2, "client_id": "b1", "address": "broker:1883"}',
        b"\xff",
        b'{"new":' + b"[" * 3_000 + b"]" * 3_000 + b"}",
    ],
    ids=["empty", "cut", "list", "newer", "not UTF-8", "deep"],
)
async def test_a_file_that_is_not_readable_is_said_and_is_a_first_start(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "session.json").write_bytes(content)

    stand = Stand(tmp_path)

    assert not stand.is_session_expected
    assert 1 == len(stand.events("session_memory_failed"))
    await ended(stand)


async def test_the_file_is_private_and_whole_after_many_saves_at_once(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "made")
    for count in range(20):
        stand.finder.note(BrokerDropsReported(count), ())
    await ended(stand)

    path = tmp_path / "made" / "session.json"
    assert 0o600 == path.stat().st_mode & 0o777
    assert [path] == list(path.parent.iterdir())
    assert 19 == Stand(path.parent).memory.now.drops_count


async def test_a_record_that_kafka_had_not_confirmed_at_the_end_is_sent_by_the_next_process(
    tmp_path: Path,
) -> None:
    first = Stand(tmp_path)
    first.connect(session_present=False)
    first.subscribe()
    first.connect(session_present=False)
    first.subscribe()
    assert 1 == len(first.gaps)
    await first.finder.close(None)

    # Another address: another session, and the gap of the one before stays a gap.
    second = Stand(tmp_path, address="other:1883")
    second.finder.tick(None)
    assert first.gaps == second.gaps
    assert 0 == second.counters.gaps["session_lost"], "the first one counted it"
    second.producer.report()
    second.finder.tick(None)
    await second.finder.close(None)

    third = Stand(tmp_path)
    third.finder.tick(None)
    assert [] == third.gaps


async def test_a_report_that_comes_after_the_end_changes_nothing(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.connect(session_present=False)
    stand.subscribe()
    stand.connect(session_present=False)
    stand.subscribe()
    await ended(stand)
    written = (tmp_path / "session.json").read_bytes()

    stand.producer.report()
    stand.finder.tick(None)
    stand.finder.note_ended(None)

    assert 0 == stand.finder.owed
    assert written == (tmp_path / "session.json").read_bytes()


HOURS_S = 2.0 * EXPIRY_S


def remembered_ago_s(stand: Stand) -> float:
    heard_at = stand.memory.now.last_connected_at
    assert heard_at is not None
    return clock.unix_s() - heard_at


async def test_the_hours_of_a_suspended_host_are_part_of_the_gap(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.connect(session_present=True)
    heard_s = clock.monotonic_s()
    stand.finder.tick(heard_s)

    stand.suspended_s += HOURS_S  # For the monotonic clock no time at all.
    stand.finder.tick(heard_s)
    stand.finder.note_ended(heard_s)
    stand.connect(session_present=False)

    (lost,) = stand.events("session_lost")
    assert HOURS_S <= lost["was_away_s"] < HOURS_S + 60
    assert "session_expired" == lost["cause"]
    await ended(stand)


async def test_what_came_between_the_last_look_and_a_suspend_came_before_it(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    stand.connect(session_present=True)
    stand.finder.tick(clock.monotonic_s())

    heard_s = clock.monotonic_s()
    stand.suspended_s += HOURS_S
    stand.finder.tick(heard_s)
    stand.finder.tick(heard_s)

    assert HOURS_S <= remembered_ago_s(stand) < HOURS_S + 60
    await ended(stand)


async def test_after_a_suspend_the_next_word_of_the_broker_is_of_now(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.connect(session_present=True)
    stand.suspended_s += HOURS_S
    stand.finder.tick(clock.monotonic_s())

    stand.finder.tick(clock.monotonic_s())
    after_a_word = remembered_ago_s(stand)
    stand.finder.note_ended(None)
    stand.suspended_s += HOURS_S
    stand.connect(session_present=True)
    stand.finder.tick(clock.monotonic_s())

    assert after_a_word < 60
    assert remembered_ago_s(stand) < 60, "a suspend before the connection is no matter"
    await ended(stand)


def test_the_clock_of_this_host_tells_of_its_suspends() -> None:
    assert clock.suspended_s() > -1.0
