import io

import pytest
from rich.console import Console

from bridge.cli.showcase import plain, screen
from bridge.cli.showcase.accounting import RecentRecord
from bridge.cli.showcase.bridge_process import Check
from bridge.cli.showcase.view import LetterLine, View

HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]\u202eevil\r\n"


def hostile_view() -> View:
    return View(
        place="Mosquitto 2.0.11 :1883 → bridge → Kafka in process",
        note="Ctrl-C ends it",
        elapsed_s=75.0,
        sent_total=12_345,
        telemetry_total=12_000,
        dead_letters_total=340,
        owed=5,
        sent_per_s=200.0,
        telemetry_per_s=190.0,
        dead_letters_per_s=10.0,
        latency_p50_s=0.004,
        latency_p99_s=0.0123,
        latency_history_s=(0.004, 0.008),
        recent=(
            RecentRecord(
                device_id=HOSTILE,
                sequence=1,
                metrics={"temperature": HOSTILE},
                server_received_at=HOSTILE,
                time_drift_s=90.0,
                partition=0,
                offset=1,
                latency_s=0.004,
            ),
        ),
        letters=(LetterLine(reason=HOSTILE, count=1, device_id=HOSTILE, detail=HOSTILE),),
        is_ready=True,
        checks=(Check("mqtt", is_ok=True, state="subscribed", detail=""),),
        counters=(("received", 12_345.0),),
        wrong=HOSTILE,
    )


def draw(view: View, *, width: int, height: int) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, height=height, color_system=None)
    console.print(screen.render(view, width=width, height=height))
    return output.getvalue()


@pytest.mark.parametrize("forbidden", ["\x1b", "\x07", "\r", "\u202e"])
def test_nothing_that_a_device_says_reaches_the_terminal_as_a_command(forbidden: str) -> None:
    assert forbidden not in draw(hostile_view(), width=140, height=45)
    assert forbidden not in plain.line(hostile_view())


def test_markup_of_a_device_is_shown_and_not_obeyed() -> None:
    assert "[bold red]" in draw(hostile_view(), width=140, height=45)


def test_a_plain_line_is_one_line() -> None:
    assert len(plain.line(hostile_view()).splitlines()) == 1


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (140, 45), (200, 60)])
def test_a_frame_fits_the_terminal(width: int, height: int) -> None:
    lines = draw(hostile_view(), width=width, height=height).splitlines()

    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_the_highest_value_of_a_sparkline_has_full_height() -> None:
    assert screen.sparkline([1.0, 2.0, 4.0]) == "▂▄█"
    assert screen.sparkline([]) == ""
