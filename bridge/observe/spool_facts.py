"""What the spool is at the moment of asking: health and status say it each in its own way."""

import enum
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

FULL_REMEDY: Final = "bring Kafka back, or raise spool.bytes_max (and free room for it) and restart"
_DISK_REMEDIES: Final = (
    ("full", "free room on the file system of spool.directory"),
    ("readonly", "let the bridge write spool.directory: owner, mode, mount"),
    ("permission", "let the bridge write spool.directory: owner, mode, mount"),
    ("i/o error", "look at the disk (dmesg); the records in it are needed, so copy it first"),
    (
        "malformed",
        "the file is damaged: copy spool.directory before anything else, then look at the disk",
    ),
)


class SpoolState(enum.StrEnum):
    """How the spool stands; the last two keep what is owed out of it."""

    OFF = "off"
    EMPTY = "empty"
    HOLDS = "holds"
    """Rows wait for Kafka, or drain: nothing is wrong with the spool itself."""
    SPOOL_FULL = "spool_full"
    SPOOL_FAILED = "spool_failed"


class SpoolFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Plain numbers, as `bridge.spool.outage.Outage` has them; the default is no spool."""

    rows: int = 0
    """Acknowledged, and not yet in Kafka."""
    pending: int = 0
    """On the way to the disk."""
    live_bytes: int = 0
    bytes_max: int = 0
    obstacle: str | None = None
    """What keeps records out: `spool_full`, `spool_failed` (`Outage.state`)."""
    error: str = ""
    silent_topics: Sequence[str] = ()
    """Kafka topics that report nothing: all that is owed to them goes to disk."""
    stuck_topics: Mapping[str, int] = {}
    """Of a Kafka topic, how many records are unconfirmed for too long."""

    @property
    def state(self) -> SpoolState:
        """Name how it stands; without a bound in bytes it is off, whatever it still drains."""
        if self.obstacle == SpoolState.SPOOL_FAILED:
            return SpoolState.SPOOL_FAILED
        if not self.bytes_max:
            return SpoolState.OFF
        if self.obstacle == SpoolState.SPOOL_FULL:
            return SpoolState.SPOOL_FULL
        return SpoolState.HOLDS if self.rows else SpoolState.EMPTY

    @property
    def is_well(self) -> bool:
        """True when it takes what is owed, or is off on purpose."""
        return self.state not in (SpoolState.SPOOL_FULL, SpoolState.SPOOL_FAILED)

    @property
    def detail(self) -> str:
        """Say how much there is, and why it fails."""
        parts = []
        if self.bytes_max or self.rows:
            parts.append(f"{self.rows} rows, {self.live_bytes} of {self.bytes_max} bytes")
        if self.error:
            parts.append(self.error)
        return "; ".join(parts)


def disk_remedy(error: str) -> str:
    """Say what to do about an error of the disk, by the words of SQLite and of the system."""
    words = error.rpartition(": ")[2].lower()  # What stands before may be a path.
    for word, remedy in _DISK_REMEDIES:
        if word in words:
            return remedy
    return "see that the file system of spool.directory can be written"
