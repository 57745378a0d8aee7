"""What is known of the fleet, from one process to the next."""

from pathlib import Path

import pytest

from bridge.fleet.talkers import Kind
from bridge.runtime.fleet_state import FILE_NAME
from tests.runtime.attendance_stand import Stand, fleet

FEW = fleet(5)


async def stop_and_start(before: Stand, directory: Path, *, is_confirmed: bool = True) -> Stand:
    """End a process and begin the next one; the wall clock of the file is the real one."""
    await before.state(directory).close(is_settled=True)
    after = Stand(clock=before.clock, answers_at_once=is_confirmed)
    state = after.state(directory)
    await state.load()
    await state.close(is_settled=True)
    return after


async def test_who_was_told_to_be_silent_is_not_told_again_and_his_recovery_is(
    tmp_path: Path,
) -> None:
    stand = Stand()
    stand.pass_by(600, FEW)
    stand.pass_by(600, FEW[:4])
    assert [("device_silence", "sensor-4")] == stand.told

    again = await stop_and_start(stand, tmp_path)
    again.pass_by(600, FEW[:4])
    assert [] == again.told
    again.speak([b"sensor-4"])
    again.pass_by(2)

    assert [("device_recovered", "sensor-4")] == again.told


async def test_who_falls_silent_across_a_stop_is_told_by_the_next_process(tmp_path: Path) -> None:
    stand = Stand()
    stand.pass_by(600, FEW)
    stand.pass_by(60, FEW[:4])

    again = await stop_and_start(stand, tmp_path)
    again.pass_by(600, FEW[:4])

    assert [("device_silence", "sensor-4")] == again.told


async def test_who_is_offline_stays_so_and_is_told_when_it_comes_back(tmp_path: Path) -> None:
    stand = Stand()
    stand.pass_by(600, FEW)
    stand.say(b"sensor-4", is_online=False)
    stand.pass_by(2, FEW[:4])

    again = await stop_and_start(stand, tmp_path)
    again.pass_by(600, FEW[:4])
    again.say(b"sensor-4", is_online=False, is_retained=True)
    again.say(b"sensor-4", is_online=True)
    again.pass_by(2)

    assert [("device_online", "sensor-4")] == again.told


async def test_an_alert_that_kafka_never_confirmed_is_sent_by_the_next_process(
    tmp_path: Path,
) -> None:
    stand = Stand(answers_at_once=False)
    stand.pass_by(600, FEW)
    stand.pass_by(600, FEW[:4])
    assert 1 == len(stand.alerts)

    again = await stop_and_start(stand, tmp_path)
    again.pass_by(2, FEW[:4])

    assert stand.records == again.records
    assert 0 == len(again.alerts)
    assert 0 == again.counters.alerts["device_silence"], "told by the process before"


async def test_an_alert_whose_report_came_at_the_last_moment_is_not_sent_again(
    tmp_path: Path,
) -> None:
    stand = Stand(answers_at_once=False)
    stand.pass_by(600, FEW)
    stand.pass_by(600, FEW[:4])

    stand.producer.report()  # And no tick comes any more.
    again = await stop_and_start(stand, tmp_path)
    again.pass_by(2, FEW[:4])

    assert [] == again.told


async def test_clocks_and_talkers_are_remembered(tmp_path: Path) -> None:
    stand = Stand()
    for _ in range(120):
        stand.clock.now += 1.0
        stand.speak(FEW[:1], ahead_s=100.0)
        stand.tick()

    again = await stop_and_start(stand, tmp_path)
    again.speak(FEW[:1], ahead_s=100.0)

    assert 1 == again.attendance.drifts.wrong
    assert [] == again.events("device_clock_wrong")
    (talker,) = again.attendance.talkers.top(Kind.MESSAGES, 5, again.clock.now)
    assert b"sensor-0" == talker.device
    assert 1.0 == pytest.approx(talker.amount, rel=0.2)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x93\x01\x02\x03", id="another list"),
        pytest.param(b"no state at all", id="no MessagePack"),
        pytest.param(b"\x94\x01\xa1\xff", id="no text"),
        pytest.param(b"\x95\x01\xa0\x01\x90" + b"\x91" * 5_000 + b"\x01", id="deep"),
    ],
)
async def test_a_file_that_cannot_be_read_is_said_once_and_all_is_learned_anew(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    stand = Stand()
    state = stand.state(tmp_path)

    await state.load()
    await state.close(is_settled=True)

    (failed,) = stand.events("fleet_state_failed")
    assert str(tmp_path / FILE_NAME) == failed["path"]
    assert 0 == stand.silence.devices


async def test_the_state_of_another_client_id_is_none_of_ours(tmp_path: Path) -> None:
    stand = Stand()
    stand.pass_by(600, FEW)
    await stand.state(tmp_path, client_id="another").close(is_settled=True)

    again = Stand(clock=stand.clock)
    state = again.state(tmp_path)
    await state.load()
    await state.close(is_settled=True)

    assert 0 == again.silence.devices


async def test_a_directory_that_takes_nothing_is_said_once_and_stops_nothing(
    tmp_path: Path,
) -> None:
    stand = Stand()
    (tmp_path / "file").write_bytes(b"")
    state = stand.state(tmp_path / "file")

    await state.save(is_settled=False)
    await state.close(is_settled=True)

    assert 1 == len(stand.events("fleet_state_failed"))
