"""One reading gives one record, whatever it came as."""

import pytest
from hypothesis import given, strategies as st

from tests.pipeline.formats.given import FORMATS, OWN, Reading, carry_as, encode
from tests.pipeline.given import MESSAGE, RECEIVED, headers, value

_READINGS = st.builds(
    Reading,
    measured_at_ms=st.integers(RECEIVED.unix_us // 1_000 - 600_000_000, RECEIVED.unix_us // 1_000),
    tenths=st.none() | st.integers(-32_767, 32_767),
    energy=st.integers(0, 2**64 - 1),
    flow=st.floats(allow_nan=False, allow_infinity=False),
    is_open=st.booleans(),
    signal_strength=st.integers(-128, 127),
)


@given(_READINGS)
def test_one_reading_through_every_format_gives_the_same_record(reading: Reading) -> None:
    expected = carry_as("json", encode(reading, "json"))

    for format_name in FORMATS:
        record = carry_as(format_name, encode(reading, format_name))

        wanted = value(expected)
        if format_name == OWN and reading.tenths is None:
            del wanted["metrics"]["temperature"]  # Without presence there is nothing to be null.
        assert wanted == value(record), format_name
        assert list(map(type, wanted["metrics"].values())) == [
            type(value(record)["metrics"][name]) for name in wanted["metrics"]
        ]
        assert expected.kafka_topic == record.kafka_topic
        assert expected.key == record.key
        assert "application/json" == headers(record)["content-type"]
        # All but the digest, which is over the bytes.
        assert (
            headers(expected)["idempotency-key"].rpartition(":")[0]
            == headers(record)["idempotency-key"].rpartition(":")[0]
        )


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_record_of_a_reading_is_what_it_says(format_name: str) -> None:
    record = value(carry_as(format_name, encode(Reading(), format_name)))

    assert {
        "device_id": "dev-0001",
        "timestamp": MESSAGE["timestamp"],
        "metrics": {"temperature": 21.5, "energy": 2**53 + 1, "flow": 0.1, "is_open": True},
        "metadata": {"signal_strength": -67},
        "server_received_at": RECEIVED.rfc3339,
        "time_drift_seconds": 0.877,
    } == record
