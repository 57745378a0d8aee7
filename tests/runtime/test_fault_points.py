"""Fault points: silent unless armed, exact about when, and never ignored when misspelt."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.runtime import fault_points
from bridge.runtime.fault_points import POINTS, VARIABLE, Fault, FaultPoints, InjectedFaultError

REPOSITORY = Path(__file__).resolve().parents[2]
KILLED_AT_THE_THIRD = """
import os
from bridge.runtime import fault_points
fault_points.arm(os.environ)
for number in range(1, 6):
    print(number, flush=True)
    fault_points.reach("spool_committed")
"""


def test_every_point_may_be_reached_while_nothing_is_armed() -> None:
    assert [] == fault_points.arm({})

    for point in POINTS:
        fault_points.reach(point)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("loop=kill", Fault(point="loop", action="kill")),
        ("spool_committed=kill@3", Fault(point="spool_committed", action="kill", at=3)),
        ("puback_flushed=raise@12", Fault(point="puback_flushed", action="raise", at=12)),
        ("spool_commit=stall:0.5", Fault(point="spool_commit", action="stall", stall_s=0.5)),
        ("loop=stall:60@2", Fault(point="loop", action="stall", stall_s=60.0, at=2)),
    ],
)
def test_a_fault_is_read_as_it_is_written(text: str, fault: Fault) -> None:
    assert {fault.point: fault} == fault_points.parse(text)


def test_several_faults_are_read_with_blanks_between_them() -> None:
    faults = fault_points.parse("loop=stall:1, spool_commit=raise@2")

    assert ["loop", "spool_commit"] == list(faults)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("spol_committed=kill", "'spol_committed=kill': no such point; there are delivery_"),
        ("loop=explode", "'loop=explode' is not POINT=ACTION, where ACTION is kill, raise,"),
        ("loop", "'loop' is not POINT=ACTION"),
        ("spool_commit=miscount", "'spool_commit=miscount': only loop can miscount"),
        ("loop=kill@0", "'loop=kill@0' is not POINT=ACTION"),
        ("loop=kill@3x", "'loop=kill@3x' is not POINT=ACTION"),
        ("loop=stall", "'loop=stall': stall has seconds, as stall:0.5, and no other action has"),
        ("loop=kill:3", "'loop=kill:3': stall has seconds"),
        ("loop=stall:3601", "'loop=stall:3601': no stall is longer than 3600 s"),
        ("loop=kill,loop=raise", "'loop=raise': loop stands twice"),
        (",", "'' is not POINT=ACTION"),
    ],
)
def test_what_cannot_be_understood_is_refused_and_named(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        fault_points.arm({VARIABLE: text})

    assert refused.value.problems[0].startswith(f"environment variable {VARIABLE}: {problem}")
    assert 78 == refused.value.exit_code


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        fault_points.parse("loop=explode,nowhere=kill")

    assert 2 == len(refused.value.problems)


def test_with_a_number_it_happens_at_that_time_and_at_no_other() -> None:
    points = FaultPoints(fault_points.parse("loop=raise@2"))

    points.reach("loop")
    points.reach("spool_commit")
    with pytest.raises(InjectedFaultError, match="fault point 'loop' was reached"):
        points.reach("loop")
    points.reach("loop")


def test_without_a_number_it_happens_every_time() -> None:
    points = FaultPoints(fault_points.parse("loop=raise"))

    for _ in range(3):
        with pytest.raises(InjectedFaultError):
            points.reach("loop")


def test_a_point_that_is_not_in_the_list_is_our_bug() -> None:
    points = FaultPoints(fault_points.parse("loop=raise"))

    with pytest.raises(AssertionError, match="fault point 'elsewhere' is not in the list"):
        points.reach("elsewhere")


def test_kill_ends_the_process_at_the_third_time_with_nothing_flushed() -> None:
    environment = {**os.environ, VARIABLE: "spool_committed=kill@3"}

    ended = subprocess.run(
        [sys.executable, "-c", KILLED_AT_THE_THIRD],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (-signal.SIGKILL, "1\n2\n3\n") == (ended.returncode, ended.stdout)
