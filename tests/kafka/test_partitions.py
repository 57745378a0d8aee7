"""The partition of a key is the one that Kafka's clients choose."""

import pytest

from bridge.kafka.partitions import _murmur2


@pytest.mark.parametrize(
    ("key", "expected"),
    [  # From Apache Kafka's own UtilsTest.testMurmur2.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_what_the_java_client_gives(key: bytes, expected: int) -> None:
    assert expected & 0xFFFF_FFFF == _murmur2(key)
