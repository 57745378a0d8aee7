"""Bounds of command line values, for argparse's `type=`."""

import argparse
import math

PORT_MAX = 65_535
DEVICES_MAX = 1_000_000
"""Each is an object in memory; a larger fleet is several simulators."""
PERIOD_MIN_S = 0.1
PERIOD_MAX_S = 3_600.0


def port(text: str) -> int:
    """Read a TCP port."""
    value = count(text)
    if value > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{value} is not a TCP port (1 to {PORT_MAX})")
    return value


def count(text: str) -> int:
    """Read a number of things, at least one."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number') from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def devices(text: str) -> int:
    """Read how large a fleet is."""
    value = count(text)
    if value > DEVICES_MAX:
        raise argparse.ArgumentTypeError(f"{value} is more than {DEVICES_MAX:,} devices")
    return value


def amount(text: str) -> float:
    """Read a rate or a span: any number from 0."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number') from None
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0")
    return value


def period(text: str) -> float:
    """Read how often something is done: 0.1 s to an hour."""
    value = amount(text)
    if not PERIOD_MIN_S <= value <= PERIOD_MAX_S:
        raise argparse.ArgumentTypeError(
            f"{text} is not between {PERIOD_MIN_S} and {PERIOD_MAX_S:.0f} seconds"
        )
    return value


def share(text: str) -> float:
    """Read a share, 0 to 1."""
    value = amount(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text} is more than 1; a share is 0 to 1")
    return value
