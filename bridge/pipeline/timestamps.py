"""A device's timestamp, in any form the schema takes, becomes one form and one number.

The form is RFC 3339 in UTC with `T` and `Z`, the number microseconds since 1970. RFC 3339 is held
to by the letter: `datetime.fromisoformat` alone takes week dates, "20240101" and comma fractions.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, final

import msgspec

from bridge.pipeline.wording import quote

_US_PER_S = 1_000_000
_US_PER_MINUTE = 60 * _US_PER_S
_US_PER_DAY = 86_400 * _US_PER_S
_SECONDS_BELOW = 100_000_000_000  # Contract section 4: Unix seconds below 1e11, else milliseconds.
EXACT_BELOW = 1e15
"""A float below it can be scaled by 1,000 without losing the fraction it still has."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE = datetime(1970, 1, 1)  # noqa: DTZ001 - arithmetic in UTC throughout
_FIRST_US = -62_135_596_800 * _US_PER_S  # 0001-01-01T00:00:00Z, the first that datetime holds.
_LAST_US = 253_402_300_800 * _US_PER_S - 1  # 9999-12-31T23:59:59.999999Z, the last.
_YEARS_OF_A_CYCLE = 400
_DAYS_OF_A_CYCLE = 146_097  # The Gregorian calendar repeats after 400 years of so many days.

_CANONICAL = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?Z"
).fullmatch
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)"
    r"(?:\.([0-9]++))?([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
).fullmatch
_from_iso = datetime.fromisoformat
_INSTANTS = msgspec.json.Decoder(list[datetime]).decode
_CHARACTERS_MAX = len("2026-11-26T05:00:00.123456Z")
"""Where a fraction is longer, msgspec rounds and we leave off."""
_LEAP_SECOND = 60
_MINUTES_OF_A_DAY = 24 * 60


@final
class Timestamp(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An instant that could be read."""

    measured_at_us: int
    """Microseconds since 1970, UTC; any size, a device may name the year minus one million."""
    text: str | None
    """The record's form; None outside the years 1 to 9999, which RFC 3339 cannot write in UTC."""
    is_naive: bool = False
    """The device named no zone: taken as UTC."""


def read_timestamp(sent: Any) -> Timestamp | str:  # noqa: ANN401 - whatever stood in the message
    """Read a timestamp; a string is the detail of why it cannot be read."""
    if type(sent) is str:
        if _CANONICAL(sent):
            try:
                instant = _from_iso(sent)
            except ValueError:
                return _read_text(sent)  # Year 0, which datetime lacks, or no such day.
            return Timestamp(_microseconds((instant,))[0], sent)
        return _read_text(sent)
    if isinstance(sent, bool) or not isinstance(sent, int | float):
        return f"timestamp {quote(sent)} is neither an RFC 3339 string nor a number"
    return _read_number(sent)


def read_canonical(sent: list[Any]) -> list[int] | None:
    """Read timestamps that are in the record's form already; None where one is not.

    As a JSON array, msgspec reads one in 0.06 us; a pattern and `fromisoformat` take 0.25.
    """
    if set(map(type, sent)) != {str}:
        return None
    try:
        instants = _read_array(sent) if len(max(sent, key=len)) <= _CHARACTERS_MAX else None
        if instants is None:
            if not all(map(_CANONICAL, sent)):
                return None
            instants = list(map(_from_iso, sent))
    except (ValueError, msgspec.DecodeError):
        return None  # Year 0, which datetime lacks, or no such day.
    return _microseconds(instants)


def _microseconds(instants: Sequence[datetime]) -> list[int]:
    """Give the microseconds since 1970; divided by one of them they would take 0.05 us more."""
    return [
        since.days * _US_PER_DAY + since.seconds * _US_PER_S + since.microseconds
        for since in [instant - _EPOCH for instant in instants]
    ]


def _read_array(sent: list[str]) -> list[datetime] | None:
    """Read them all at once; None where that does not show that each is in the record's form."""
    text = '","'.join(sent)
    # RFC 3339 has one letter between date and time, and one at the end unless there is an offset.
    if text.count("T") != len(sent) or text.count("Z") != len(sent) or "\\" in text:
        return None
    instants = _INSTANTS('["' + text + '"]')
    # More, where one of them has quotes in it.
    return instants if len(instants) == len(sent) else None


def write_timestamp(measured_at_us: int) -> str | None:
    """Write an instant in the record's form; None where the form cannot hold it."""
    if not _FIRST_US <= measured_at_us <= _LAST_US:
        return None
    instant = _EPOCH_NAIVE + timedelta(microseconds=measured_at_us)
    if instant.microsecond == 0:
        precision = "seconds"
    else:
        precision = "milliseconds" if instant.microsecond % 1_000 == 0 else "microseconds"
    return instant.isoformat(timespec=precision) + "Z"


def _read_number(sent: int | float) -> Timestamp | str:  # noqa: PYI041 - the int stays exact
    if type(sent) is float and not math.isfinite(sent):
        return f"timestamp {quote(sent)} is not a finite number"
    scale = _US_PER_S if sent < _SECONDS_BELOW else 1_000
    if isinstance(sent, int) or abs(sent) >= EXACT_BELOW:
        measured_at_us = int(sent) * scale  # Exact, and no float overflows on the way.
    else:
        measured_at_us = round(sent * scale)
    return Timestamp(measured_at_us, write_timestamp(measured_at_us))


def _read_text(sent: str) -> Timestamp | str:
    found = _RFC3339(sent)
    if found is None:
        return f"timestamp {quote(sent)} is not RFC 3339"
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    fraction, zone = found.group(7), found.group(8)
    is_leap_second = second == _LEAP_SECOND
    cycles = 1 if year == 0 else 0  # datetime has no year 0: reckon one cycle later.
    try:
        instant = datetime(  # noqa: DTZ001 - the offset is subtracted below, as a number
            year + cycles * _YEARS_OF_A_CYCLE, month, day, hour, minute, second - is_leap_second
        )
    except ValueError as error:
        return f"timestamp {quote(sent)} is not RFC 3339: {error}"
    since = instant - _EPOCH_NAIVE
    # As integers, since 0001-01-01T00:00:00+23:59 lies outside of datetime. Digits beyond the
    # sixth are left off, never rounded up into a later second.
    whole_us = (since.days - cycles * _DAYS_OF_A_CYCLE) * _US_PER_DAY + since.seconds * _US_PER_S
    whole_us -= _offset_minutes(zone) * _US_PER_MINUTE
    if is_leap_second:
        if whole_us // _US_PER_MINUTE % _MINUTES_OF_A_DAY != _MINUTES_OF_A_DAY - 1:
            return f"timestamp {quote(sent)} has a leap second that is not 23:59:60 UTC"
        whole_us += _US_PER_S
    measured_at_us = whole_us + int((fraction or "0")[:6].ljust(6, "0"))
    return Timestamp(measured_at_us, write_timestamp(measured_at_us), zone is None)


def _offset_minutes(zone: str | None) -> int:
    if zone is None or zone in "Zz":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return -minutes if zone[0] == "-" else minutes
