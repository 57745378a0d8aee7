"""`top`: a live view of a running bridge, or JSON lines where there is no terminal."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec
from rich.console import Console
from rich.live import Live

from bridge.cli.arguments import address
from bridge.cli.live import screen
from bridge.cli.live.answers import Answer, Refused
from bridge.cli.live.asking import TOKEN_VARIABLE, Asker, checked_url
from bridge.cli.live.moment import Moment, Observer
from bridge.cli.showcase import bounds
from bridge.config import load, secrets
from bridge.config.addresses import host_and_port
from bridge.config.sections import BridgeConfig, Secret
from bridge.errors import ConfigError, ExitCode, UnavailableError, UsageError
from bridge.observe.fleet_facts import Sort

URL = "http://127.0.0.1:9464"
DESCRIPTION = f"""\
Show what a running bridge does, from its /status, /status/devices and /metrics, until Ctrl-C. Where
standard output is no terminal, each look is a line of JSON. Latencies and the rates of dead letters
are of the last ten seconds; --once has no past, so its latencies are of all time and it has no such
rates. A bridge that is away is asked again until it is back.

The token of a bridge that wants one (ops.token) is read anew for each look, from --token-file, else
from the environment variable {TOKEN_VARIABLE}, else from where --config says.
"""
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked for, not listened on


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command line."""
    parser = subparsers.add_parser(
        "top",
        help="show a running bridge, live",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit codes: 0 ended by Ctrl-C or SIGTERM, or --once was answered; 64 usage;"
        " 69 the bridge refuses at the first look, or --once found none; 78 configuration",
    )
    parser.add_argument(
        "--url", metavar="URL", type=address, help=f"where the bridge listens ({URL})"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="the bridge's configuration, for its address and token",
    )
    parser.add_argument("--token-file", metavar="FILE", type=Path, help="a file with the token")
    parser.add_argument(
        "--every", type=bounds.period, default=1.0, metavar="S", help="seconds (%(default)s)"
    )
    parser.add_argument(
        "--sort",
        choices=[str(each) for each in Sort],
        default=str(Sort.RATE),
        help="in what respect devices stand out (%(default)s)",
    )
    parser.add_argument("--once", action="store_true", help="look once")
    parser.add_argument("--json", action="store_true", help="JSON lines also in a terminal")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Look until a signal; with --once, once.

    Raises:
        UsageError: --url is no address of a bridge.
        ConfigError: The configuration, or the token, cannot be read.
        UnavailableError: The bridge refuses; with --once also: it is away.
    """
    config: BridgeConfig | None = None
    if arguments.config is not None:
        config = load(arguments.config, environment=os.environ, reads_files=False).config
    url = _url(arguments.url, config)
    token = _token_source(arguments.token_file, config, os.environ)
    token()  # What cannot be read is an error before the screen is drawn.
    return asyncio.run(_watch(arguments, url, token))


def _url(given: str | None, config: BridgeConfig | None) -> str:
    if given is None and config is not None:
        host, port = host_and_port(config.ops.listen, port_min=0)
        if not port:
            raise UsageError(
                f'ops.listen "{config.ops.listen}" takes a free port, which only the bridge knows:'
                " give the address of its event ops_listening with --url"
            )
        host = _ANYWHERE.get(host, host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    try:
        return checked_url(given or URL)
    except ValueError as error:
        raise UsageError(f"--url {error}") from None


def _token_source(
    file: Path | None, config: BridgeConfig | None, environment: Mapping[str, str]
) -> Callable[[], str | None]:
    secret: Secret | None = None
    if file is not None:
        secret = Secret(file=str(file))
    elif TOKEN_VARIABLE in environment:
        secret = Secret(env=TOKEN_VARIABLE)
    elif config is not None:
        secret = config.ops.token
    return lambda: None if secret is None else _read_token(secret, environment)


def _read_token(secret: Secret, environment: Mapping[str, str]) -> str:
    token = secrets.read(secret, environment)
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError(["the token has a character that no HTTP header holds; use letters"])
    return token


async def _watch(arguments: argparse.Namespace, url: str, token: Callable[[], str | None]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with aiohttp.ClientSession() as session:
        asker = Asker(session, url, sort=arguments.sort, token=token)
        moments = _moments(asker, Observer(url, sort=arguments.sort), stop, every_s=arguments.every)
        async with contextlib.aclosing(moments):
            if arguments.once:
                await _show_once(moments, is_json=arguments.json)
            else:
                await _show(moments, stop, is_json=arguments.json)
    return ExitCode.OK


async def _moments(
    asker: Asker, observer: Observer, stop: asyncio.Event, *, every_s: float
) -> AsyncGenerator[Moment, None]:
    """Look again and again, every so often from the beginning of a look to that of the next."""
    loop = asyncio.get_running_loop()
    is_first = True
    while not stop.is_set():
        began_s = loop.time()
        answer = await _ask(asker, stop)
        if answer is None:
            return
        if is_first and isinstance(answer, Refused):
            raise UnavailableError(f"the bridge refuses: {answer.text}")
        is_first = False
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        yield observer.look(answer, now_s=loop.time(), now=now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(began_s + every_s):
                await stop.wait()


async def _ask(asker: Asker, stop: asyncio.Event) -> Answer | None:
    """Ask, but wait for no answer that nobody wants any more."""
    asking = asyncio.ensure_future(asker.ask())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((asking, stopping), return_when=asyncio.FIRST_COMPLETED)
        return asking.result() if asking.done() else None
    finally:
        stopping.cancel()
        asking.cancel()
        await asyncio.gather(asking, stopping, return_exceptions=True)


async def _show_once(moments: AsyncIterator[Moment], *, is_json: bool) -> None:
    async for moment in moments:
        if moment.status is None:
            raise UnavailableError(f"the bridge at {moment.url} is away: {moment.reason}")
        console = _terminal()
        if is_json or console is None:
            _write_line(moment)
        else:
            console.print(screen.render(moment, width=console.width, height=console.height))
        return


async def _show(moments: AsyncIterator[Moment], stop: asyncio.Event, *, is_json: bool) -> None:
    console = _terminal()
    if is_json or console is None:
        try:
            async for moment in moments:
                _write_line(moment)
        except BrokenPipeError:
            # The reader, such as `head`, has enough: end well, and say the rest to nobody.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            stop.set()
        return
    with contextlib.ExitStack() as stack:
        live: Live | None = None
        async for moment in moments:
            if live is None:  # Not before: a refusal is told on the terminal as it was.
                live = stack.enter_context(Live(console=console, screen=True, auto_refresh=False))
            frame = screen.render(moment, width=console.width, height=console.height)
            live.update(frame, refresh=True)


def _terminal() -> Console | None:
    """Give the terminal, where standard output is one that can be drawn on."""
    if not sys.stdout.isatty():
        return None
    console = Console(file=sys.stdout)
    return None if console.is_dumb_terminal else console


def _write_line(moment: Moment) -> None:
    sys.stdout.write(msgspec.json.encode(moment).decode() + "\n")
    sys.stdout.flush()
