"""What may be said of a configuration: one problem, or warning, and the keys it is about."""

import msgspec

from bridge.config.paths import KeyPath


class Problem(msgspec.Struct, frozen=True):
    """One thing the operator has to change; the origin of its path says where."""

    path: KeyPath
    text: str
    also: tuple[KeyPath, ...] = ()
    """Other keys it judges: if one of those is wrong by itself, this may be no problem at all."""
    is_warning: bool = False
    """It works as it is, but is probably not meant."""
