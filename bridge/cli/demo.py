"""`demo`: the whole way on one machine, with nothing configured."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.live import Live

from bridge.cli.showcase import bounds, plain, screen
from bridge.cli.showcase.fleet import Fleet, Shares
from bridge.cli.showcase.mosquitto import find_mosquitto
from bridge.cli.showcase.performance import Performance
from bridge.cli.showcase.stage import open_stage
from bridge.errors import ExitCode

DESCRIPTION = """\
Devices that exist only here, a real Mosquitto, the real bridge as a process of its own, and Kafka
inside this one. About one message in twenty is wrong in some way and must become a dead letter.
Every message is accounted for. Ctrl-C stops the fleet, then the bridge as in real life, and
removes everything; a second Ctrl-C does not wait. Nothing is left behind but, after a SIGKILL,
a directory in the temporary files: on Linux the kernel then ends the children too.
"""
SHARES = Shares(malformed=0.05, drifting=0.1, silent=0.05)
LIVE_RATE_PER_S = 200.0
ONCE_RATE_PER_S = 1_000.0
ONCE_PATIENCE_S = 20.0
"""How long --once waits without a single record before it gives up."""
LIVE_PATIENCE_S = 5.0
SCREEN_EVERY_S = 0.25
LINE_EVERY_S = 1.0


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="the main job on one machine with nothing configured",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--once",
        type=bounds.count,
        metavar="N",
        help="carry N messages, print a summary as JSON, exit 0 only if each one is accounted for",
    )
    parser.add_argument(
        "--devices", type=bounds.devices, default=200, metavar="N", help="(%(default)s)"
    )
    parser.add_argument(
        "--rate",
        type=bounds.amount,
        metavar="R",
        help=f"messages a second in total, 0: as fast as possible ({LIVE_RATE_PER_S:.0f};"
        f" with --once {ONCE_RATE_PER_S:.0f})",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(%(default)s)")
    parser.add_argument("--plain", action="store_true", help="a line a second, not a screen")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Show the way of the messages, until Ctrl-C or until --once has its number.

    Raises:
        UnavailableError: there is no Mosquitto, or it does not start.
        BridgeError: the bridge did not start, or not end, as it should.
    """
    program = find_mosquitto()
    with tempfile.TemporaryDirectory(prefix="mqtt-kafka-bridge-demo-") as directory:
        return asyncio.run(_demo(arguments, program, Path(directory)))


async def _demo(arguments: argparse.Namespace, program: str, directory: Path) -> int:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def note_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, note_signal)
    running = asyncio.create_task(_run(arguments, program, directory, stop))
    hurried = asyncio.create_task(hurry.wait())
    await asyncio.wait((running, hurried), return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not running.done():
        running.cancel()
    try:
        return await running
    except asyncio.CancelledError:
        sys.stderr.write("stopped without waiting; what was on its way is gone\n")
        return ExitCode.BUG if arguments.once else ExitCode.OK


async def _run(
    arguments: argparse.Namespace, program: str, directory: Path, stop: asyncio.Event
) -> int:
    once: int | None = arguments.once
    rate_per_s = LIVE_RATE_PER_S if once is None else ONCE_RATE_PER_S
    fleet = Fleet(devices=arguments.devices, shares=SHARES, seed=arguments.seed)
    async with open_stage(program, directory) as stage:
        await stage.bridge.wait_until_ready(stop)
        if stop.is_set():
            return ExitCode.OK if once is None else ExitCode.BUG
        performance = Performance(stage, fleet, stop)
        showing = asyncio.create_task(_show(performance, arguments, stop))

        def stop_unseen(shown: asyncio.Task[None]) -> None:
            if not shown.cancelled() and shown.exception() is not None:
                stop.set()  # Our bug: it is raised when the bridge has ended as it should.

        showing.add_done_callback(stop_unseen)
        try:
            await performance.play(
                rate_per_s=rate_per_s if arguments.rate is None else arguments.rate,
                messages_max=once,
                patience_s=LIVE_PATIENCE_S if once is None else ONCE_PATIENCE_S,
            )
        finally:
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await showing
    books = performance.books
    if once is not None:
        sys.stdout.write(json.dumps(performance.summary()) + "\n")
        return ExitCode.OK if books.is_balanced and books.sent_total == once else ExitCode.BUG
    sys.stdout.write(plain.farewell(performance.summary()) + "\n")
    # After Ctrl-C something may still lie at Mosquitto; but what came must be right.
    return ExitCode.OK if books.is_sound else ExitCode.BUG


async def _show(
    performance: Performance, arguments: argparse.Namespace, stop: asyncio.Event
) -> None:
    is_once = arguments.once is not None
    output = sys.stderr if is_once else sys.stdout
    if is_once and not output.isatty():
        return
    console = Console(file=output)
    if arguments.plain or not console.is_terminal or console.is_dumb_terminal:
        try:
            async for view in performance.views(every_s=LINE_EVERY_S):
                output.write(plain.line(view) + "\n")
                output.flush()
        except BrokenPipeError:
            # The reader, such as `head`, has enough: end well, and say the rest to nobody.
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
            stop.set()
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        async for view in performance.views(every_s=SCREEN_EVERY_S):
            frame = screen.render(view, width=console.width, height=console.height)
            live.update(frame, refresh=True)
