"""A hundred thousand devices on a clock of their own: who is told is exactly who fell silent.

How long it takes is no affair of a test: `python -m benchmarks.fleet` prints it.
"""

from pathlib import Path

from tests.runtime.attendance_stand import Stand, fleet

DEVICES = fleet(100_000)
SILENT = DEVICES[::100]
"""One in a hundred: far from a silence of the fleet."""
SPEAKING = [each for number, each in enumerate(DEVICES) if number % 100]


def names(devices: list[bytes]) -> set[str]:
    return {each.decode() for each in devices}


def told(stand: Stand, kind: str) -> list[str]:
    return [str(device_id) for each, device_id in stand.told if each == kind]


async def test_exactly_who_fell_silent_is_told_through_our_own_outage_and_a_restart(
    tmp_path: Path,
) -> None:
    stand = Stand()
    stand.pass_by(180, DEVICES)
    stand.pass_by(240, SPEAKING)
    assert names(SILENT) == set(told(stand, "device_silence"))
    assert len(SILENT) == len(stand.told), "each once"

    stand.lose_link()
    stand.is_broker_frozen = True
    stand.pass_by(3_600)
    stand.can_hear, stand.is_broker_frozen = True, False
    stand.pass_by(120, SPEAKING)
    assert len(SILENT) == len(stand.told), "no storm after our own outage"

    await stand.state(tmp_path).close(is_settled=True)
    again = Stand(clock=stand.clock)
    state = again.state(tmp_path)
    await state.load()
    await state.close(is_settled=True)
    again.pass_by(120, SPEAKING)
    assert [] == again.told, "nothing is told twice"
    again.pass_by(120, DEVICES)
    assert names(SILENT) == set(told(again, "device_recovered"))
    assert len(SILENT) == len(again.told)


def test_a_hundred_thousand_at_once_are_one_alert_and_those_that_stay_are_told_after_it() -> None:
    stand = Stand()
    stand.pass_by(180, DEVICES)

    stand.pass_by(300)
    assert [("fleet_silence", None)] == stand.told
    stand.pass_by(200, SPEAKING)

    assert names(SILENT) == set(told(stand, "device_silence"))
    assert ["fleet_silence", "fleet_recovered"] == [kind for kind, who in stand.told if not who]
    assert 2 + len(SILENT) == len(stand.told)
