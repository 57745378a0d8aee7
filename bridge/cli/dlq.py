"""`dlq`: what lies in the dead letter topic, why, and how it comes back."""

import argparse
from collections.abc import Callable

from bridge.cli.dead_letters import replay, show, stats
from bridge.cli.dead_letters.options import add_common

TOP_DEFAULT = 10
TOP_MAX = 10_000


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Say what `dlq` takes."""
    parser = subparsers.add_parser("dlq", help="count, show and replay dead letters")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    counting = "count dead letters by all that tells them apart"
    _add_stats(_add(commands, "stats", counting, stats.DESCRIPTION, stats.execute))
    showing = "show dead letters in full, and what today's rules say of them"
    _add_show(_add(commands, "show", showing, show.DESCRIPTION, show.execute))
    replaying = "judge dead letters anew and produce what becomes of them"
    _add_replay(_add(commands, "replay", replaying, replay.DESCRIPTION, replay.execute))


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    description: str,
    execute: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common(parser)
    parser.set_defaults(execute=execute)
    return parser


def _add_stats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--top",
        type=_Whole(TOP_MAX),
        default=TOP_DEFAULT,
        metavar="N",
        help="devices and firmware versions to list (%(default)s)",
    )


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--id", metavar="ID", help="the dead letter with this dlq.id")
    parser.add_argument(
        "--limit",
        type=_Whole(show.SHOWN_MAX),
        default=1,
        metavar="N",
        help=f"how many of the newest, at most {show.SHOWN_MAX} (%(default)s)",
    )
    parser.add_argument(
        "--payload",
        choices=("auto", "text", "hex"),
        default="auto",
        help="auto: hex where it is no text (%(default)s)",
    )


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="judge and report; nothing is written"
    )
    parser.add_argument(
        "--rate", type=_rate, metavar="R", help="letters a second at most; default: no bound"
    )
    parser.add_argument(
        "--limit", type=_Whole(None), metavar="N", help="letters to replay in this run"
    )
    parser.add_argument(
        "--include-copies",
        action="store_true",
        help="copies too: their messages are in the telemetry topic already, and come again",
    )
    parser.add_argument(
        "--force", action="store_true", help="reasons too that a replay cannot mend"
    )


class _Whole:
    """Reads a whole number from 1 on."""

    def __init__(self, most: int | None) -> None:
        self._most = most

    def __call__(self, text: str) -> int:
        """Read it; argparse tells what is wrong."""
        try:
            number = int(text)
        except ValueError:
            number = 0
        if number < 1 or (self._most is not None and number > self._most):
            up_to = "" if self._most is None else f" to {self._most}"
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1{up_to}")
        return number


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.001 <= rate <= 1e6:  # noqa: PLR2004 - one in a quarter of an hour, and no bound
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0.001 to 1000000")
    return rate
