"""Layers 3 and 4, semantic and business: what is telemetry, and still looks wrong.

Layer 3 holds numbers to their ranges, layer 4 the device to what the registry says of it. Neither
rejects: each finding is a flag, and the configuration says where a flagged message goes. Layer 4 is
off without a registry, and says nothing until the registry is known: no message waits for it, and
none is flagged for what nobody knows yet.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from bridge.config.paths import key_text
from bridge.config.sections import Range, ValidationSection
from bridge.config.versions import TEXT_CHARACTERS_MAX, Recall, read_recall, read_version
from bridge.fleet.registry import UNREGISTERED, Circle, DeviceEntry
from bridge.pipeline.places import Position, Unreadable, distance_m, read_position, read_site
from bridge.pipeline.verdict import Flag, Layer, Reason
from bridge.pipeline.wording import escape, quote

FLAGS_MAX: Final = 16
SEMANTIC_FLAGS_MAX: Final = 12
"""The rest is for layer 4, which has no more than three to say."""
DETAIL_CHARACTERS_MAX: Final = 256
_VERSIONS_KEPT_MAX: Final = 1_024
"""Firmware versions whose recall is remembered: a fleet has few, and devices make them up."""

Bounds: TypeAlias = tuple[float, float]
_UNKNOWN: Final = object()
_RANGES_FEW: Final = 8
_NUMBERS: Final = frozenset((int, float))
NO_FLAGS: Final[tuple[Flag, ...]] = ()
_NOTHING: Final[Mapping[str, Any]] = {}
_KILOMETRE_M: Final = 1_000


class Judge:
    """The rules of layers 3 and 4, compiled once.

    Measured: 0.6 us for three metrics and a battery level that all have ranges; 0.7 us where the
    battery is in metadata, beside a signal strength; 0.1 us more for a registry, 0.3 for a recall.
    """

    def __init__(self, validation: ValidationSection, *, table: str = "validation") -> None:
        """`table` is where the rules stand, for whoever reads a flag."""
        self._table = table
        self._ranges = _compile(validation.ranges)
        self._ranges_of_type = {
            device_type: _compile({**validation.ranges, **section.ranges})
            for device_type, section in validation.types.items()
        }
        self._types = validation.types
        self._units = {name: f" {unit}" for name, unit in validation.units.items()}
        self._recalls = [read_recall(text) for text in validation.firmware_recalled]
        self._recall_of: dict[str, Recall | None] = {}

    @property
    def has_ranges(self) -> bool:
        """True where a device of no type has to keep to any."""
        return bool(self._ranges)

    def judge(
        self, message: dict[str, Any], device_id: str, entry: DeviceEntry | None
    ) -> Sequence[Flag]:
        """Give the flags of a message that passed layers 1 and 2; mostly none.

        `entry` is what `Registry.look_up` said; None where there is no registry, or none known yet.
        """
        ranges = self._ranges
        if entry is not None and self._ranges_of_type:
            ranges = self._ranges_of_type.get(entry.type, ranges)
        metadata = message.get("metadata", _NOTHING)
        flags: Sequence[Flag] = NO_FLAGS
        if ranges and not (
            _are_within(message["metrics"], ranges) and _are_within(metadata, ranges)
        ):
            flags = self._judge_ranges(message, entry, ranges)
        if entry is None or self._is_expected(metadata, entry):
            return flags
        about_device = self._judge_device(metadata, device_id, entry)
        return [*flags, *about_device] if about_device else flags

    def judge_all(
        self,
        messages: Sequence[dict[str, Any]],
        device_ids: Sequence[str],
        entries: Sequence[DeviceEntry | None],
    ) -> Sequence[Sequence[Flag]]:
        """Do the same for many: where all are well, a few calls say so of all of them."""
        metadata = [each.get("metadata", _NOTHING) for each in messages]
        tables = [*[each["metrics"] for each in messages], *metadata]
        is_well = _are_all_within(tables, self._ranges)
        is_expected, own = self._is_expected, self._ranges_of_type
        return [
            NO_FLAGS
            if is_well and (entry is None or (entry.type not in own and is_expected(about, entry)))
            else self.judge(message, device_id, entry)
            for message, about, device_id, entry in zip(
                messages, metadata, device_ids, entries, strict=True
            )
        ]

    # ------------------------------------------------------------------ layer 3

    def _judge_ranges(
        self, message: dict[str, Any], entry: DeviceEntry | None, ranges: Mapping[str, Bounds]
    ) -> list[Flag]:
        found = [
            (table, name, value)
            for table in ("metrics", "metadata")
            for name, value in message.get(table, _NOTHING).items()
            if name in ranges and not _is_within(value, ranges[name])
        ]
        flags = [
            _flag(
                Reason.OUT_OF_RANGE,
                Layer.SEMANTIC,
                self._explain(key_text((table, name)), name, value, ranges[name], entry),
            )
            for table, name, value in found[:SEMANTIC_FLAGS_MAX]
        ]
        left = len(found) - len(flags)
        if left:
            last = flags.pop()
            flags.append(
                _flag(last.reason, last.layer, f"and so are {left} more", before=last.detail)
            )
        return flags

    def _explain(
        self, path: str, name: str, value: object, bounds: Bounds, entry: DeviceEntry | None
    ) -> str:
        unit = self._units.get(name, "")
        low, high = (f"{_number(bound)}{unit}" for bound in bounds)
        rule = self._rule(name, entry)
        if type(value) not in {int, float} or value != value:  # noqa: PLR0124 - not a number
            return f"{path} is {quote(value)}, expected a number from {low} to {high} ({rule})"
        is_below = value < bounds[0]  # type: ignore[operator]  # A number by now.
        side = f"below {low}, the lowest" if is_below else f"above {high}, the highest"
        return f"{path} is {quote(value)}{unit}, {side} allowed ({rule})"

    def _rule(self, name: str, entry: DeviceEntry | None) -> str:
        section = self._types.get(entry.type) if entry is not None else None
        if entry is not None and section is not None and name in section.ranges:
            return key_text((self._table, "types", entry.type, "ranges"))
        return f"{self._table}.ranges"

    # ------------------------------------------------------------------ layer 4

    def _is_expected(self, metadata: Mapping[str, Any], entry: DeviceEntry) -> bool:
        """Tell whether all is surely well; what is not sure is looked at more closely."""
        if entry is UNREGISTERED or not entry.enabled:
            return False
        location = entry.location
        if location is not None and metadata.get("location") != location:
            return False
        sent = metadata.get("firmware_version") if self._recalls else None
        # The recall of nearly every version is known by now; what is no text is not in there.
        return sent is None or (type(sent) is str and self._recall_of.get(sent, _UNKNOWN) is None)

    def _judge_device(
        self, metadata: Mapping[str, Any], device_id: str, entry: DeviceEntry
    ) -> Sequence[Flag]:
        found: list[tuple[Reason, str]] = []
        if entry is UNREGISTERED:
            reason = Reason.DEVICE_UNKNOWN
            found.append((reason, f"device {quote(device_id)} is not in the registry"))
        elif not entry.enabled:
            reason = Reason.DEVICE_DISABLED
            found.append((reason, f"device {quote(device_id)} is disabled in the registry"))
        if entry.location is not None:
            where = _judge_location(metadata, entry.location)
            if where:
                found.append((Reason.LOCATION_UNEXPECTED, where))
        if self._recalls and "firmware_version" in metadata:
            sent = metadata["firmware_version"]
            recall = self._find_recall(sent)
            if recall is not None:
                text = (
                    f"metadata.firmware_version is {quote(sent)}, recalled by {quote(recall.text)}"
                    f" ({self._table}.firmware_recalled)"
                )
                found.append((Reason.FIRMWARE_RECALLED, text))
        if not found:
            return NO_FLAGS
        return [_flag(reason, Layer.BUSINESS, text) for reason, text in found]

    def _find_recall(self, sent: object) -> Recall | None:
        """Find what recalls a version; a number such as 2.1 is taken as it is written."""
        if type(sent) in {int, float}:
            sent = quote(sent)
        if type(sent) is not str or len(sent) > TEXT_CHARACTERS_MAX:
            return None
        known = self._recall_of
        if sent not in known:
            if len(known) >= _VERSIONS_KEPT_MAX:
                known.clear()
            version = read_version(sent)
            known[sent] = next((each for each in self._recalls if each.covers(version)), None)
        return known[sent]


def warnings_of(flags: Iterable[Flag]) -> list[str]:
    """Write flags as the `warnings` of a record."""
    return [flag.warning for flag in flags]


def _compile(ranges: Mapping[str, Range]) -> dict[str, Bounds]:
    return {name: (bounds[0], bounds[1]) for name, bounds in ranges.items() if bounds}


def _are_within(table: Mapping[str, Any], ranges: Mapping[str, Bounds]) -> bool:
    """Tell whether all is well: the way of nearly every message."""
    for name, value in table.items():
        if name in ranges:
            kind = type(value)
            low, high = ranges[name]
            if (kind is not float and kind is not int) or not low <= value <= high:
                return False
    return True


def _are_all_within(tables: Sequence[Mapping[str, Any]], ranges: Mapping[str, Bounds]) -> bool:
    # Only those that anybody has, where there are many: a file may name a thousand.
    names = ranges if len(ranges) <= _RANGES_FEW else ranges.keys() & set().union(*tables)
    for name in names:
        low, high = ranges[name]
        values = [each[name] for each in tables if name in each]
        if values and not (_NUMBERS.issuperset(map(type, values)) and low <= min(values)):
            return False
        if values and max(values) > high:
            return False
    return True


def _is_within(value: Any, bounds: Bounds) -> bool:  # noqa: ANN401 - whatever stood there
    return type(value) in {int, float} and bounds[0] <= value <= bounds[1]


def _judge_location(metadata: Mapping[str, Any], expected: str | Circle) -> str:
    """Say what is wrong with a place, if anything; a name is compared with a name only."""
    if isinstance(expected, str):
        site = read_site(metadata)
        if site is None or site == expected:
            return ""
        return f"metadata.location is {quote(site)}, the registry expects {quote(expected)}"
    position = read_position(metadata)
    if position is None:
        return ""
    if isinstance(position, Unreadable):
        ends = f"-{position.bound:g} to {position.bound:g}"
        return f"{position.name} is {quote(position.value)}, expected a number from {ends}"
    centre = Position(expected.latitude, expected.longitude)
    away_m = distance_m(position, centre)
    if away_m <= expected.radius_m:
        return ""
    return (
        f"the device is at {_place(position)}, {_distance(away_m)} from {_place(centre)},"
        f" the registry allows {_distance(expected.radius_m)}"
    )


def _flag(reason: Reason, layer: Layer, detail: str, *, before: str = "") -> Flag:
    """Make a flag whose detail is fit to be read; what is to be kept whole comes last."""
    room = DETAIL_CHARACTERS_MAX - len(detail) - len("; ")
    text = f"{escape(before, room)}; {detail}" if before else escape(detail, DETAIL_CHARACTERS_MAX)
    return Flag(reason, layer, text)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _place(position: Position) -> str:
    return f"{position.latitude:.5f}, {position.longitude:.5f}"


def _distance(metres: float) -> str:
    return f"{metres / _KILOMETRE_M:.1f} km" if metres >= _KILOMETRE_M else f"{metres:.0f} m"
