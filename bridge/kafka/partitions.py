"""Where a key goes: the partitioner that Java's client and librdkafka's murmur2_random share.

Only the outage machine asks, to know which keys get stuck together; Kafka's own client decides.
"""

from functools import lru_cache
from typing import Final

_MASK: Final = 0xFFFF_FFFF
_M: Final = 0x5BD1_E995
_SEED: Final = 0x9747_B28C
KEYS_REMEMBERED: Final = 65_536

Place = tuple[str, int]
"""A Kafka topic and a partition."""


@lru_cache(maxsize=KEYS_REMEMBERED)
def partition_of(key: bytes, partitions: int) -> int:
    """Tell the partition of a key that is not empty."""
    return (_murmur2(key) & 0x7FFF_FFFF) % partitions


def _murmur2(data: bytes) -> int:
    length = len(data)
    mixed = (_SEED ^ length) & _MASK
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        mixed = (mixed * _M & _MASK) ^ k
    if whole < length:
        mixed = (mixed ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    mixed = (mixed ^ mixed >> 13) * _M & _MASK
    return mixed ^ mixed >> 15
