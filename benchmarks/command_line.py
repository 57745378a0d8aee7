"""What the commands of the benchmarks share: which cluster, and where the measurements go."""

import argparse
from pathlib import Path

import msgspec


def name_parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    """Make a parser that knows its command; the first line of its module says what it does."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}", description=(doc or "").partition("\n")[0]
    )


def make_parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    """Make the parser of a benchmark that needs Kafka and whose measurements are kept."""
    parser = name_parser(module, doc)
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a running cluster, else one is made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every measurement goes there")
    return parser


def keep(found: object, path: Path | None) -> None:
    """Write measurements where they are wanted."""
    if path is not None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
