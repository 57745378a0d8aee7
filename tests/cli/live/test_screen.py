import io

import pytest
from rich.console import Console

from bridge.cli.live import screen
from bridge.cli.live.answers import (
    Answered,
    Away,
    Budget,
    Check,
    Conservation,
    Device,
    Fleet,
    Shedding,
    Spool,
    Status,
)
from bridge.cli.live.moment import Moment, Observer

HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]\u202eevil\r\n"


def moment() -> Moment:
    status = Status(
        version="1.2",
        ready=False,
        uptime_s=90_061.0,
        checks={
            "mqtt": Check(ok=True, state="subscribed"),
            "kafka": Check(ok=False, state="kafka_away", detail="no broker answers"),
            "spool": Check(ok=True, state="holds"),
        },
        conservation=Conservation(in_flight=7, spooled=1_234),
        window_used_ratio=0.9,
        spool=Spool(state="holds", bytes=1 << 28, bytes_max=1 << 30),
        outage_budget=Budget(state="limited", seconds=7_260.0, is_unknown_after=True),
        shedding=Shedding(2),
        dead_letters={"empty": 5, HOSTILE: 2},
        active_devices=12,
        fleet=Fleet(devices={"live": 10, "silent": 2}),
    )
    answer = Answered(
        status=status,
        devices=tuple(Device(f"{HOSTILE}{number}", 1.5, 0.5, -2.0) for number in range(30)),
    )
    return Observer("http://127.0.0.1:9464", sort="rate").look(answer, now_s=0.0, now="now")


def draw(shown: Moment, *, width: int, height: int) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, height=height, color_system=None)
    console.print(screen.render(shown, width=width, height=height))
    return output.getvalue()


@pytest.mark.parametrize("forbidden", ["\x1b", "\x07", "\r", "\u202e"])
def test_nothing_that_a_device_says_reaches_the_terminal_as_a_command(forbidden: str) -> None:
    assert forbidden not in draw(moment(), width=140, height=45)


def test_markup_of_a_device_is_shown_and_not_obeyed() -> None:
    assert "[bold red]" in draw(moment(), width=140, height=45)


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (100, 30), (140, 45), (200, 60)])
def test_a_frame_fits_the_terminal(width: int, height: int) -> None:
    lines = draw(moment(), width=width, height=height).splitlines()

    assert len(lines) <= height
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [60, 140])
def test_a_frame_says_what_an_operator_asks_first(width: int) -> None:
    frame = draw(moment(), width=width, height=30)

    for text in (
        "1.2",
        "up 1 d 1 h",
        "90.0%",
        "1,234",
        "25% of 1.0 GiB",
        "≥ 2 h 1 min",
        "low and medium",
        "not ready",
        "kafka_away  no broker answers",
        "5 in all",
        "2 silent",
    ):
        assert text in frame


def test_a_bridge_that_is_away_shows_since_when_and_why_and_no_old_number() -> None:
    watching = Observer("http://127.0.0.1:9464", sort="rate")
    watching.look(Away("connection refused"), now_s=0.0, now="2026-11-25T12:00:00Z")
    away = watching.look(Away("connection refused"), now_s=61.0, now="2026-11-25T12:01:01Z")

    frame = draw(away, width=60, height=24)

    assert "the bridge is away since 2026-11-25T12:00:00Z (1 min 1 s)" in " ".join(frame.split())
    assert "connection refused" in frame
    assert "received" not in frame


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (61.0, "1 min 1 s"),
        (3_600.0, "1 h 0 min"),
        (200_000.0, "2 d 7 h"),
        (-1, "0 s"),
    ],
)
def test_a_span_is_written_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert text == screen.span(seconds)
