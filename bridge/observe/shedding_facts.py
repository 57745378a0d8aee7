"""How load shedding stands at the moment of asking."""

import msgspec


class SheddingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Plain numbers; the default is a bridge that sheds nothing."""

    level: int = 0
    """How many classes of priority are shed."""
    load: float = 0.0
    """Handed to Kafka and not confirmed, as a share of the room for it; may be above 1."""
