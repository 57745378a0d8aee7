"""Where a device says that it is, and how far that is from where it should be."""

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

EARTH_RADIUS_M: Final = 6_371_008.8
"""Mean radius (IUGG); the earth is no sphere, so a distance is right to half a percent."""
LATITUDE_MAX: Final = 90.0
LONGITUDE_MAX: Final = 180.0
_NUMBERS: Final = frozenset((int, float))


class Position(NamedTuple):
    """A point on the earth, in degrees."""

    latitude: float
    longitude: float


class Unreadable(NamedTuple):
    """A coordinate that is there and is none."""

    name: str
    """As it stands in the message, from `metadata` on."""
    value: object
    bound: float


def read_site(metadata: Mapping[str, Any]) -> str | None:
    """Return the name of the place that the message gives, if it gives a name."""
    location = metadata.get("location")
    return location if type(location) is str else None


def read_position(metadata: Mapping[str, Any]) -> Position | Unreadable | None:
    """Read `metadata.location` as an object, else `metadata.latitude` and `metadata.longitude`.

    None: the message gives no coordinates; null is none, as a receiver without a fix sends it.
    """
    location = metadata.get("location")
    if type(location) is dict:
        return _read(location, "metadata.location")
    return _read(metadata, "metadata")


def _read(table: Mapping[str, Any], where: str) -> Position | Unreadable | None:
    latitude, longitude = table.get("latitude"), table.get("longitude")
    if latitude is None or longitude is None:
        return None
    if not _is_within(latitude, LATITUDE_MAX):
        return Unreadable(f"{where}.latitude", latitude, LATITUDE_MAX)
    if not _is_within(longitude, LONGITUDE_MAX):
        return Unreadable(f"{where}.longitude", longitude, LONGITUDE_MAX)
    return Position(latitude, longitude)


def _is_within(value: Any, bound: float) -> bool:  # noqa: ANN401 - whatever stood there
    return type(value) in _NUMBERS and -bound <= value <= bound


def distance_m(one: Position, other: Position) -> float:
    """Measure along the surface (haversine)."""
    latitude, longitude = math.radians(one.latitude), math.radians(one.longitude)
    other_latitude, other_longitude = math.radians(other.latitude), math.radians(other.longitude)
    half_chord = (
        math.sin((other_latitude - latitude) / 2) ** 2
        + math.cos(latitude)
        * math.cos(other_latitude)
        * math.sin((other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(half_chord)))
