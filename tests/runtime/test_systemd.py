"""What systemd is told, with the test in its place."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from bridge.runtime.systemd import STATUS_S, Notices, Supervisor
from tests.support.datagrams import DatagramSocket, NotifySocket

PROCESS_ID = 42


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path / "notify") as made:
        yield made


def supervisor_of(notify: NotifySocket, clock: Clock | None = None, **more: str) -> Supervisor:
    return Supervisor(
        {"NOTIFY_SOCKET": notify.address, **more},
        process_id=PROCESS_ID,
        monotonic_s=clock or Clock(),
    )


def test_ready_goes_with_what_is_waited_for(notify: NotifySocket) -> None:
    supervisor = supervisor_of(notify)

    supervisor.ready("waiting for Kafka (kafka_away)")

    assert b"READY=1\nSTATUS=waiting for Kafka (kafka_away)" == notify.receive()
    supervisor.close()


def test_a_start_says_what_may_take_its_time(notify: NotifySocket) -> None:
    supervisor = supervisor_of(notify)

    supervisor.starting()

    assert b"STATUS=starting: reads what it kept on disk" == notify.receive()
    supervisor.close()


def test_an_abstract_address_is_spoken_to() -> None:
    with NotifySocket(f"@bridge-test-{os.getpid()}") as notify:
        supervisor = supervisor_of(notify)

        supervisor.ready("up")

        assert b"READY=1\nSTATUS=up" == notify.receive()
        supervisor.close()


@pytest.mark.parametrize(
    "address",
    ["", "/", "@", "vsock:2:1234", "relative", "/no/such/socket", "/" + "x" * 500],
)
def test_without_an_address_that_can_be_spoken_to_nothing_happens(address: str) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})

    supervisor.ready("up")
    supervisor.tick(lambda: "up")
    supervisor.stopping(budget_s=30, status="stopping")
    supervisor.close()


def test_a_stop_asks_for_the_time_that_it_may_take(notify: NotifySocket) -> None:
    supervisor = supervisor_of(notify)

    supervisor.stopping(budget_s=600, status="stopping; 3 in flight")

    assert (
        b"STOPPING=1\nEXTEND_TIMEOUT_USEC=610000000\nSTATUS=stopping; 3 in flight"
        == notify.receive()
    )
    supervisor.close()


def test_a_reload_tells_its_moment_and_ends_with_ready(notify: NotifySocket) -> None:
    supervisor = supervisor_of(notify)

    supervisor.reloading()
    supervisor.ready("up")

    assert [b"RELOADING=1\nMONOTONIC_USEC=1000000000", b"READY=1\nSTATUS=up"] == [
        notify.receive(),
        notify.receive(),
    ]
    supervisor.close()


def test_a_status_is_told_at_most_once_in_a_while_and_only_if_it_changed(
    notify: NotifySocket,
) -> None:
    clock = Clock()
    supervisor = supervisor_of(notify, clock)
    supervisor.ready("a")

    supervisor.tick(lambda: "too soon")
    for status in ("b", "b", "c"):
        clock.now += STATUS_S
        supervisor.tick(lambda status=status: status)  # type: ignore[misc]

    assert ["a", "b", "c"] == notify.values("STATUS")
    supervisor.close()


@given(st.text())
def test_no_status_from_outside_sets_another_variable(status: str) -> None:
    with NotifySocket(f"@bridge-test-{os.getpid()}-hostile") as notify:
        supervisor = supervisor_of(notify)

        supervisor.ready(f"{status}\nMAINPID=1")

        ready, told = notify.receive().split(b"\n")
        assert b"READY=1" == ready
        assert told.startswith(b"STATUS=")
        supervisor.close()


def test_what_a_full_socket_did_not_take_is_told_later_and_in_order(tmp_path: Path) -> None:
    with DatagramSocket(tmp_path / "notify") as notify:
        supervisor = Supervisor({"NOTIFY_SOCKET": notify.address})
        filled = fill(notify.address)

        supervisor.ready("up")
        supervisor.tick(lambda: "up")
        supervisor.stopping(budget_s=1, status="stopping")
        before = notify.receive_waiting()
        supervisor.tick(lambda: "stopping")

        assert [b"full"] * filled == before
        assert [b"READY=1", b"STOPPING=1"] == [
            each.split(b"\n")[0] for each in notify.receive_waiting()
        ]
        supervisor.close()


def fill(address: str) -> int:
    """Send until the receiver's queue is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0)
        sent = 0
        while True:
            try:
                sender.sendto(b"full", address)
            except BlockingIOError:
                return sent
            sent += 1


# --- The watchdog


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"WATCHDOG_USEC": "30000000"}, 30.0, id="for whoever has the variable"),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 30.0, id="for us"),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None, id="for another"),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "x"}, None, id="for nobody"),
        pytest.param({"WATCHDOG_USEC": "0"}, None, id="off"),
        pytest.param({"WATCHDOG_USEC": "-1"}, None, id="negative"),
        pytest.param({"WATCHDOG_USEC": "1"}, 0.01, id="far too short"),
        pytest.param({"WATCHDOG_USEC": "soon"}, None, id="no number"),
        pytest.param({"WATCHDOG_USEC": "²"}, None, id="a digit that is no number"),
    ],
)
def test_the_watchdog_is_what_systemd_asks_of_this_process(
    notify: NotifySocket, environment: dict[str, str], expected: float | None
) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": notify.address, **environment}, process_id=PROCESS_ID)

    assert expected == supervisor.watchdog_s
    supervisor.close()


def test_nobody_watches_where_nobody_listens() -> None:
    assert Supervisor({"WATCHDOG_USEC": "1000000"}).watchdog_s is None


async def test_the_watchdog_is_fed_while_the_bridge_is_live_and_starves_when_it_is_stuck(
    notify: NotifySocket,
) -> None:
    answers = iter([True, True, False, False, False])
    all_asked = asyncio.Event()

    def is_live() -> bool:
        answer = next(answers, None)
        if answer is None:
            all_asked.set()
        return bool(answer)

    supervisor = supervisor_of(notify, WATCHDOG_USEC="20000")

    feeding = asyncio.create_task(supervisor.feed(is_live))
    await all_asked.wait()
    feeding.cancel()

    assert ["1", "1"] == notify.values("WATCHDOG")
    supervisor.close()


async def test_without_a_watchdog_nobody_asks_whether_the_bridge_is_live(
    notify: NotifySocket,
) -> None:
    def is_live() -> bool:
        raise AssertionError("asked")

    supervisor = supervisor_of(notify)

    await supervisor.feed(is_live)

    assert [] == notify.listen()
    supervisor.close()


def test_a_notice_never_has_a_second_line() -> None:
    notices = Notices("@bridge-test-nobody")

    with pytest.raises(AssertionError, match="one line for each variable"):
        notices.send("STATUS=a\nMAINPID=1")
    notices.close()
