"""What a bridge answers, as far as `top` reads it; a field that is missing has its default."""

from typing import TypeAlias

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One part of readiness."""

    ok: bool = False
    state: str = ""
    detail: str = ""


class Conservation(msgspec.Struct, frozen=True):
    """The terms of the equation that are shown."""

    received: int = 0
    produced: int = 0
    dead_lettered: int = 0
    duplicates: int = 0
    dropped: int = 0
    spooled: int = 0
    in_flight: int = 0
    residue: int = 0


class PerSecond(msgspec.Struct, frozen=True):
    """A rate, just now and over about a minute."""

    now: float = 0.0
    last_minute: float = 0.0


class Spool(msgspec.Struct, frozen=True):
    """How much lies on disk."""

    state: str = ""
    rows: int = 0
    bytes: int = 0
    bytes_max: int = 0
    error: str = ""


class Budget(msgspec.Struct, frozen=True):
    """How long Kafka may be away."""

    state: str = "unknown"
    seconds: float | None = None
    is_unknown_after: bool = False


class Shedding(msgspec.Struct, frozen=True):
    """What goes over the disk because Kafka is slow."""

    level: int = 0
    """How many classes of priority: low first, then medium."""


class Fleet(msgspec.Struct, frozen=True):
    """Devices by how they stand."""

    silence: str = "off"
    devices: dict[str, int] = {}
    is_fleet_silent: bool = False
    clocks_wrong: int = 0


class Device(msgspec.Struct, frozen=True):
    """One device that stands out."""

    device_id: str = ""
    messages_per_s: float = 0.0
    errors_per_s: float = 0.0
    clock_offset_s: float | None = None


class Devices(msgspec.Struct, frozen=True):
    """`/status/devices`."""

    devices: list[Device] = []


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`/status`; what no bridge leaves out is asked for, so that nothing else passes for one."""

    version: str
    ready: bool
    checks: dict[str, Check]
    uptime_s: float = 0.0
    conservation: Conservation = Conservation()
    received_per_s: PerSecond = PerSecond()
    settled_per_s: PerSecond = PerSecond()
    oldest_unsettled_s: float = 0.0
    window_used_ratio: float = 0.0
    spool: Spool = Spool()
    outage_budget: Budget = Budget()
    shedding: Shedding = Shedding()
    dead_letters: dict[str, int] = {}
    active_devices: int = 0
    fleet: Fleet = Fleet()


Buckets: TypeAlias = tuple[tuple[float, float], ...]
"""A cumulative histogram: upper bounds in seconds, the last one infinite, and counts."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The bridge answered."""

    status: Status
    devices: tuple[Device, ...] = ()
    latency: Buckets = ()


class Refused(msgspec.Struct, frozen=True):
    """Something answered, but not with a status; the text says what to do."""

    text: str


class Away(msgspec.Struct, frozen=True):
    """Nobody answered; the text says why."""

    text: str


Answer: TypeAlias = Answered | Refused | Away
