"""The device registry: who the devices are, and what is known of each.

Many devices share an entry, so equal ones are one object, and none has a place in the garbage
collector. Measured for 100,000 devices, with the index: 28 MB for 34,000 distinct entries, 45 MB
where all differ; 0.05 us to look one up.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from bridge.config.sections import NonEmpty, PositiveSeconds, Section

LABELS_MAX: Final = 50
"""Device types that are a metric label of their own: the number of series stays small."""
OTHER: Final = "other"
UNKNOWN: Final = "unknown"
_DIGEST_BYTES: Final = 8
_DIGESTS: Final = 1 << 8 * _DIGEST_BYTES

Priority = Literal["high", "medium", "low"]


class Circle(Section, frozen=True, gc=False):
    """A place on the earth and how far around it a device may be."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    """Degrees, north positive."""
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    """Degrees, east positive."""
    radius_m: Annotated[float, Meta(gt=0)]
    """Metres around it."""


class DeviceLimits(Section, frozen=True, gc=False, omit_defaults=True):
    """What one device may send; what is left out is as for all."""

    per_device_per_s: Annotated[float, Meta(ge=0)] | None = None
    burst: Annotated[int, Meta(ge=1)] | None = None


class DeviceEntry(Section, frozen=True, gc=False, omit_defaults=True):
    """What is known of one device; a record of the registry's Kafka topic has the same fields."""

    type: str = ""
    """Device type: ranges of its own, and the metric label `device_type`."""
    location: NonEmpty | Circle | None = None
    """Where it should be: the name of a site, or a circle."""
    expected_interval_s: PositiveSeconds | None = None
    """How often it speaks."""
    enabled: bool = True
    """False: its messages are flagged `device_disabled`."""
    priority: Priority | None = None
    """Its own, where it differs from its route's."""
    limits: DeviceLimits | None = None
    gateway: NonEmpty | None = None
    """Device id of the gateway it is assigned to."""


UNREGISTERED: Final = DeviceEntry()
"""Stands for every device that the registry does not have; recognised by identity."""

Entries = Mapping[str, DeviceEntry]


class Changes(NamedTuple):
    """How one state of the registry differs from another, in devices."""

    added: int
    changed: int
    removed: int


class Prepared(msgspec.Struct, frozen=True):
    """A whole registry, ready to be taken over: made in a thread, adopted in no time."""

    entries: dict[str, DeviceEntry]
    types: dict[str, int]
    """How many devices each type has, in the order in which the types come."""
    digest_sum: int
    changes: Changes
    gone: tuple[str, ...] = ()
    """Devices that were in the one before."""


class RegistryFacts(msgspec.Struct, frozen=True):
    """What is said of the registry to people."""

    is_known: bool
    devices: int
    types: int
    digest: str
    """Of the whole content, whatever its order: two bridges with the same registry agree."""


class Registry:
    """The devices that are known at this moment.

    Invariant: every state is one that `replace` with the same devices would have made, so it does
    not matter in which steps a registry came. Only the metric labels are kept for good: a type that
    had one keeps it, else a fleet that changes its types would add series for ever.
    """

    def __init__(self) -> None:
        self._entries: dict[str, DeviceEntry] = {}
        self._is_known = False
        self._labels: dict[str, None] = {}
        self._types: dict[str, int] = {}
        """How many devices each type has."""
        self._sum = 0
        """Of the digests of all devices, so that one change costs one digest."""

    def __len__(self) -> int:
        """Count the devices."""
        return len(self._entries)

    @property
    def is_known(self) -> bool:
        """False until the first `replace`: then nothing can be said of any device."""
        return self._is_known

    def get(self, device_id: str) -> DeviceEntry | None:
        """Look a device up."""
        return self._entries.get(device_id)

    def look_up(self, device_id: str) -> DeviceEntry | None:
        """Look a device up to judge it: None, nothing is known of any; else its entry.

        A device that is not registered has the entry `UNREGISTERED`.
        """
        return self._entries.get(device_id, UNREGISTERED) if self._is_known else None

    def look_up_all(self, device_ids: Sequence[str]) -> Sequence[DeviceEntry | None]:
        """Do the same for many."""
        if not self._is_known:
            return [None] * len(device_ids)
        get = self._entries.get
        return [get(each, UNREGISTERED) for each in device_ids]

    def entries(self) -> Entries:
        """Show all devices; not to be kept, since it goes on changing."""
        return self._entries

    def replace(self, entries: dict[str, DeviceEntry]) -> Changes:
        """Take over all devices; the caller lets go of `entries`."""
        return self.adopt(self.prepare(entries))

    def prepare(self, entries: dict[str, DeviceEntry]) -> Prepared:
        """Do the long part of `replace`: 0.2 s for 100,000 devices; may be called in a thread."""
        types: dict[str, int] = {}
        digest_sum = 0
        for device_id, entry in entries.items():
            types[entry.type] = types.get(entry.type, 0) + 1
            digest_sum += _digest(device_id, entry)
        changes = compare(self._entries, entries)
        gone = tuple(name for name in self._entries if name not in entries)
        return Prepared(entries, types, digest_sum % _DIGESTS, changes, gone)

    def adopt(self, prepared: Prepared) -> Changes:
        """Do the short part of `replace`."""
        self._entries = prepared.entries
        self._types = prepared.types
        self._sum = prepared.digest_sum
        self._is_known = True
        for device_type in prepared.types:
            self._give_label(device_type)
        return prepared.changes

    def apply(self, device_id: str, entry: DeviceEntry | None) -> Changes:
        """Take over one device, or remove it (None: a tombstone)."""
        before = self._entries.pop(device_id, None)
        if before is not None:
            self._sum = (self._sum - _digest(device_id, before)) % _DIGESTS
            self._types[before.type] -= 1
            if not self._types[before.type]:
                del self._types[before.type]
        if entry is None:
            return Changes(0, 0, int(before is not None))
        self._entries[device_id] = entry
        self._sum = (self._sum + _digest(device_id, entry)) % _DIGESTS
        self._types[entry.type] = self._types.get(entry.type, 0) + 1
        self._give_label(entry.type)
        return Changes(int(before is None), int(before is not None and before != entry), 0)

    def _give_label(self, device_type: str) -> None:
        if device_type and device_type not in self._labels and len(self._labels) < LABELS_MAX:
            self._labels[device_type] = None

    def types(self) -> tuple[str, ...]:
        """List the first 50 types that ever were in it, in the order in which they came."""
        return tuple(self._labels)

    def label(self, entry: DeviceEntry | None) -> str:
        """Give the metric label `device_type` of what `look_up` found."""
        if entry is None:
            return UNKNOWN
        return entry.type if entry.type in self._labels else OTHER

    def labels_of(self, keys: Iterable[bytes]) -> Iterable[str]:
        """Give the labels of devices by the keys of their records."""
        if not self._is_known:
            return [UNKNOWN for _ in keys]
        get, labels = self._entries.get, self._labels
        types = [get(each.decode("utf-8", "replace"), UNREGISTERED).type for each in keys]
        return [each if each in labels else OTHER for each in types]

    def facts(self) -> RegistryFacts:
        """Tell what is to be said of it."""
        return RegistryFacts(
            is_known=self._is_known,
            devices=len(self._entries),
            types=sum(1 for name in self._types if name),
            digest=f"{self._sum:0{2 * _DIGEST_BYTES}x}" if self._is_known else "",
        )


def _digest(device_id: str, entry: DeviceEntry) -> int:
    whole = device_id.encode() + b"\0" + encode_entry(entry)
    return int.from_bytes(blake2b(whole, digest_size=_DIGEST_BYTES).digest())


def compare(before: Entries, after: Entries) -> Changes:
    """Count what is different."""
    changed = sum(
        1 for name, entry in after.items() if (old := before.get(name)) is not None and old != entry
    )
    kept = sum(1 for name in after if name in before)
    return Changes(len(after) - kept, changed, len(before) - kept)


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(DeviceEntry)


def encode_entry(entry: DeviceEntry) -> bytes:
    """Write the value of a record of the registry's Kafka topic."""
    return _ENCODER.encode(entry)


def decode_entry(value: bytes) -> DeviceEntry:
    """Read the value of a record; what a later version wrote and this one does not know is left.

    Raises:
        ValueError: It is no entry of a device; says why.
    """
    try:
        return _DECODER.decode(value)
    except msgspec.ValidationError:
        return _decode_known(value)


def _decode_known(value: bytes) -> DeviceEntry:
    try:
        tree = msgspec.json.decode(value)
        return msgspec.convert(_prune(tree), DeviceEntry)
    except RecursionError as error:
        # Anybody with WRITE may leave such a record, and it would end every start from then on.
        raise ValueError("it is nested too deeply") from error


_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset(DeviceEntry.__struct_fields__),
    "location": frozenset(Circle.__struct_fields__),
    "limits": frozenset(DeviceLimits.__struct_fields__),
}


def _prune(tree: Any, table: str = "") -> Any:  # noqa: ANN401 - any JSON value
    if not isinstance(tree, dict) or table not in _KNOWN:
        return tree
    return {key: _prune(value, key) for key, value in tree.items() if key in _KNOWN[table]}


class Interning:
    """Lets equal entries be one object, and equal texts within them one text."""

    def __init__(self) -> None:
        self._entries: dict[DeviceEntry, DeviceEntry] = {}
        self._texts: dict[str, str] = {}

    def intern(self, entry: DeviceEntry) -> DeviceEntry:
        """Return the one object that stands for all entries equal to this one."""
        known = self._entries.get(entry)
        if known is not None:
            return known
        texts = self._texts
        location = entry.location
        entry = msgspec.structs.replace(
            entry,
            type=texts.setdefault(entry.type, entry.type),
            location=texts.setdefault(location, location) if type(location) is str else location,
            gateway=texts.setdefault(entry.gateway, entry.gateway) if entry.gateway else None,
        )
        self._entries[entry] = entry
        return entry
