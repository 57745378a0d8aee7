"""The verdict of the shedding benchmark: its ratio is taken between two phases of one broker."""

import pytest

from benchmarks.shedding import Phase, ratio, table


def phase(source: str, p99_s: float, *, is_shedding: bool) -> Phase:
    return Phase(
        source=source,
        is_shedding=is_shedding,
        high=4_000,
        p50_s=p99_s / 2,
        p99_s=p99_s,
        shed={"high": 0, "medium": 20, "low": 30},
        level_max=2 * is_shedding,
        spooled=7,
        kafka_per_s=1_000.4,
    )


PHASES = [
    phase("mosquitto", 1.0, is_shedding=True),
    phase("mosquitto", 8.0, is_shedding=False),
    phase("hostile", 3.0, is_shedding=False),
    phase("hostile", 1.5, is_shedding=True),
]


def test_the_ratio_is_that_of_the_two_phases_of_one_broker() -> None:
    assert [0.125, 0.5] == [pytest.approx(ratio(PHASES, each)) for each in ("mosquitto", "hostile")]


def test_the_table_has_a_line_for_each_phase_below_its_head() -> None:
    head, first, *others = table(PHASES).splitlines()

    assert 3 == len(others)
    assert ["MQTT", "broker", "shedding", "high"] == head.split()[:4]
    assert ["mosquitto", "yes", "4000", "0.50", "1.00", "2", "30", "20", "0", "7", "1000"] == (
        first.split()
    )
