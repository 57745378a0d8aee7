"""What lies in the dead letter topic, counted in bounded memory."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from bridge.config.sections import Route
from bridge.pipeline.decode import Decoding, decode_reading
from bridge.pipeline.firmware import firmware_in
from bridge.pipeline.identity import AddressBook
from bridge.pipeline.letters.letter import Letter
from bridge.pipeline.wording import escape

KEPT_MAX: Final = 10_000
"""Names a count keeps at least; up to twice as many between two clearings, some 2 MB."""
HOURS_MAX: Final = 8_784
"""A leap year of hours; what is older is counted together."""
_NAMES_MAX: Final = 64
"""Reasons and layers told apart: the sets are closed, but the topic is anybody's."""
_SHOWN_CHARACTERS_MAX: Final = 64
_HOUR_CHARACTERS: Final = len("2026-11-23T17")
OTHER: Final = "(other)"
EARLIER: Final = "(earlier)"


class Counted(msgspec.Struct, frozen=True):
    """A name and how often it came."""

    name: str
    count: int
    at_most: int
    """Above `count` only where so many names came that some were forgotten in between."""


class TopCount:
    """Counts names whose number nobody bounds; the frequent ones are exact or nearly so.

    When twice `kept_max` names are there, those with the lowest counts are forgotten. One that
    comes again starts anew, and may have come as often before as the largest that was forgotten.
    """

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._counts: dict[str, list[int]] = {}
        self._forgotten_max = 0

    @property
    def is_exact(self) -> bool:
        """Tell whether nothing was ever forgotten."""
        return not self._forgotten_max

    def __len__(self) -> int:
        """Count the names that are remembered."""
        return len(self._counts)

    def add(self, name: str) -> None:
        """Count a name once more."""
        found = self._counts.get(name)
        if found is not None:
            found[0] += 1
            return
        if len(self._counts) >= 2 * self._kept_max:
            self._forget()
        self._counts[name] = [1, self._forgotten_max]

    def top(self, count: int) -> list[Counted]:
        """Give the most frequent names, the most frequent first."""
        ordered = sorted(self._counts.items(), key=lambda each: (-each[1][0], each[0]))
        return [Counted(name, n, n + missed) for name, (n, missed) in ordered[:count]]

    def _forget(self) -> None:
        ordered = sorted(self._counts.items(), key=lambda each: -sum(each[1]))
        self._forgotten_max = sum(ordered[self._kept_max][1])
        self._counts = dict(ordered[: self._kept_max])


class Census:
    """Counts letters by all that `dlq stats` shows."""

    def __init__(self, firmware_of: Callable[[Letter], str | None]) -> None:
        self._firmware_of = firmware_of
        self.letters = self.foreign = self.copies = self.replayable = self.suppressed = 0
        self.reasons: Counter[str] = Counter()
        self.layers: Counter[str] = Counter()
        self.devices, self.firmware = TopCount(), TopCount()
        self.with_firmware = 0
        self.first = self.last = ""
        """Times of receipt."""
        self._hours: Counter[str] = Counter()

    def add(self, letter: Letter) -> None:
        """Count one."""
        if not letter.is_letter:
            self.foreign += 1
            return
        self.letters += 1
        self.copies += letter.is_copy
        self.replayable += letter.is_retryable and not letter.is_copy
        self.suppressed += suppressed_of(letter)
        _count(self.reasons, letter.reason)
        _count(self.layers, letter.layer)
        self.devices.add(escape(letter.device_id, _SHOWN_CHARACTERS_MAX))
        firmware = self._firmware_of(letter)
        if firmware is not None:
            self.with_firmware += 1
            self.firmware.add(escape(firmware, _SHOWN_CHARACTERS_MAX))
        received = letter.received.rfc3339
        self.first = min(self.first or received, received)
        self.last = max(self.last, received)
        self._hours[received[:_HOUR_CHARACTERS]] += 1
        if len(self._hours) >= 2 * HOURS_MAX:
            self._hours = Counter(dict(self.hours(HOURS_MAX)))

    def hours(self, count: int) -> list[tuple[str, int]]:
        """Give the last hours that have letters, oldest first; what is before them as one."""
        named = sorted(each for each in self._hours if each != EARLIER)
        shown = [(hour, self._hours[hour]) for hour in named[-count:]]
        earlier = sum(self._hours.values()) - sum(number for _, number in shown)
        return [(EARLIER, earlier), *shown] if earlier else shown


class FirmwareReader:
    """Reads the firmware version out of a letter's payload, whatever format its route has."""

    def __init__(self, routes: tuple[Route, ...], decoding: Decoding) -> None:
        self._addresses = AddressBook(routes)
        self._decoding = decoding

    def read(self, letter: Letter) -> str | None:
        """Give the version; None where the payload tells none, or cannot be read."""
        address = self._addresses[letter.mqtt_topic]
        if not letter.is_whole or address.route is None:
            return None
        content_type = dict(letter.headers).get("content-type")
        text = None if content_type is None else content_type.decode("utf-8", "backslashreplace")
        decode = self._decoding.decode if letter.batch is None else decode_reading
        try:
            message = decode(letter.payload, text, address)
        except Exception:  # noqa: BLE001 - a payload that was rejected for it, say
            return None
        return firmware_in(message)


def suppressed_of(letter: Letter) -> int:
    """Tell how many copies were left out before this one."""
    told = dict(letter.headers).get("dlq.suppressed", b"")
    return int(told) if told.isdigit() and len(told) <= 18 else 0  # noqa: PLR2004 - 64 bits


def _count(counter: Counter[str], name: str) -> None:
    shown = escape(name, _SHOWN_CHARACTERS_MAX)
    counter[shown if shown in counter or len(counter) < _NAMES_MAX else OTHER] += 1
