"""What is told of devices that fall silent, and the settings of when."""

from typing import NamedTuple, TypeAlias

import msgspec


class SilenceRules(msgspec.Struct, frozen=True, kw_only=True):
    """When a silence is one."""

    expected_interval_s: float = 60.0
    """No learned interval is below it, and it says how often a device is looked at."""
    multiplier: float = 3.0
    fleet_share: float = 0.2
    fleet_min: int = 20
    """So many at once, and that share of the devices, are one silence of the fleet."""
    devices_max: int = 200_000


class DeviceSilent(msgspec.Struct, frozen=True):
    """A device was not heard for `multiplier` times its interval; told once."""

    device: bytes
    heard_ago_s: float
    """Since its last message, the time in which the bridge was deaf included."""
    expected_interval_s: float


class DeviceRecovered(msgspec.Struct, frozen=True):
    """A device that was told to be silent is heard again."""

    device: bytes
    heard_ago_s: float
    """Since its last message but one."""


class DeviceOffline(msgspec.Struct, frozen=True):
    """A device, or its will, says that it is gone: no silence of its own will be told."""

    device: bytes
    heard_ago_s: float


class DeviceOnline(msgspec.Struct, frozen=True):
    """A device that was told to be offline says so, or is heard."""

    device: bytes
    heard_ago_s: float


class FleetSilence(msgspec.Struct, frozen=True):
    """Many devices fell silent at once: told instead of each of them."""

    count: int
    """Those silent, and those quiet for two thirds of the time that makes one silent."""
    share: float
    """Of the devices that were not silent or offline before."""
    since_ago_s: float
    """Since the first of them was heard last."""


class FleetRecovered(msgspec.Struct, frozen=True):
    """Most of them are heard again; each that is not is told as silent now."""

    silent: int
    """Those."""
    since_ago_s: float


SilenceFact: TypeAlias = (
    DeviceSilent | DeviceRecovered | DeviceOffline | DeviceOnline | FleetSilence | FleetRecovered
)


class Swept(NamedTuple):
    """What a slice of a sweep found."""

    facts: list[SilenceFact]
    is_done: bool
    """False: call again, there is more to look at."""
