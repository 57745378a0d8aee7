import math
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec import structs

from bridge.observe.events import CATALOGUE
from bridge.observe.outage_budget import BudgetLow, BudgetRecovered, News, OutageBudget, Seen

PER_S = 10
COST = 500
UNKNOWN = {"broker_queue_messages": 0, "broker_queue_bytes": 0}


class Watched:
    """A budget that is told something each second, and what it said."""

    def __init__(self, *, spool_bytes_max: int = 0, **queue: int) -> None:
        self.budget = OutageBudget(spool_bytes_max=spool_bytes_max, **{**UNKNOWN, **queue})
        self.now = 100.0
        self.received = 0
        self.rows = 0
        self.news: list[News] = []
        self.pass_time(1, per_s=0)

    def pass_time(self, seconds: int, *, per_s: int = PER_S, **facts: Any) -> None:
        for _ in range(seconds):
            self.received += per_s
            seen = Seen(
                received=self.received,
                **{
                    "spool_rows": self.rows,
                    "spool_bytes": self.rows * COST,
                    "bytes_per_message": COST,
                    "is_kafka_well": True,
                    "is_reading": True,
                    **facts,
                },
            )
            news = self.budget.note(self.now, seen)
            self.news += [] if news is None else [news]
            self.now += 1

    def spool(self, seconds: int, **facts: Any) -> None:
        """Let Kafka be away, and all that comes go to disk."""
        for _ in range(seconds):
            self.rows += PER_S
            self.pass_time(1, is_kafka_well=False, **facts)

    @property
    def seconds(self) -> float | None:
        return self.budget.seconds(self.now - 1)


def test_without_inflow_an_outage_may_last_for_ever() -> None:
    watched = Watched(spool_bytes_max=1_000)

    watched.pass_time(100, per_s=0)

    assert math.inf == watched.seconds


def test_where_no_room_is_known_the_budget_is_unknown() -> None:
    watched = Watched()

    watched.pass_time(10, is_kafka_well=False)

    assert watched.seconds is None
    assert [] == watched.news


@pytest.mark.parametrize(
    ("room", "expected_s"),
    [
        pytest.param({"spool_bytes_max": 100_000}, 20, id="spool alone"),
        pytest.param({"broker_queue_messages": 300}, 30, id="queue alone, in messages"),
        pytest.param({"broker_queue_bytes": 100_000}, 20, id="queue alone, in bytes"),
        pytest.param(
            {"broker_queue_messages": 300, "broker_queue_bytes": 100_000}, 20, id="the smaller"
        ),
        pytest.param(
            {"spool_bytes_max": 100_000, "broker_queue_messages": 300}, 50, id="one after the other"
        ),
    ],
)
def test_the_budget_is_the_room_over_the_inflow(room: dict[str, int], expected_s: float) -> None:
    watched = Watched(**room)

    watched.pass_time(30)

    assert expected_s == pytest.approx(watched.seconds)


def test_while_the_spool_fills_the_budget_counts_down() -> None:
    watched = Watched(spool_bytes_max=1_000_000, broker_queue_messages=500)
    watched.pass_time(60)

    watched.spool(100)

    assert pytest.approx(200 - 100 + 50) == watched.seconds


def test_what_a_message_costs_is_learned_from_the_rows_that_are_there() -> None:
    watched = Watched(spool_bytes_max=1_000_000)
    watched.pass_time(60, bytes_per_message=5_000)
    before_s = watched.seconds

    watched.spool(1, bytes_per_message=5_000)

    assert pytest.approx(20) == before_s
    assert pytest.approx(199) == watched.seconds


def test_between_two_looks_time_goes_on_while_kafka_is_away() -> None:
    watched = Watched(spool_bytes_max=100_000)
    watched.pass_time(30, is_kafka_well=False)

    assert pytest.approx(20 - 7) == watched.budget.seconds(watched.now - 1 + 7)


def test_while_reading_is_paused_the_queue_of_the_broker_fills_unseen() -> None:
    watched = Watched(spool_bytes_max=100_000, broker_queue_messages=1_000)
    watched.spool(20)
    full_s = watched.seconds

    watched.pass_time(30, per_s=0, is_kafka_well=False, is_reading=False)

    assert pytest.approx(100) == full_s
    assert pytest.approx(100 - 30) == watched.seconds


def test_the_backlog_that_comes_after_a_pause_is_no_inflow() -> None:
    watched = Watched(spool_bytes_max=100_000)
    watched.pass_time(120)
    watched.pass_time(60, per_s=0, is_reading=False)

    watched.pass_time(1, per_s=PER_S * 60)

    assert pytest.approx(PER_S, rel=0.1) == watched.budget.inflow_per_s


def test_a_spool_that_the_disk_refuses_is_no_room() -> None:
    watched = Watched(spool_bytes_max=100_000, broker_queue_messages=300)

    watched.pass_time(30, is_spool_writable=False)

    assert pytest.approx(30) == watched.seconds


def test_an_outage_is_warned_of_an_hour_and_ten_minutes_before_the_end_once_each() -> None:
    watched = Watched(spool_bytes_max=4_000 * PER_S * COST)
    watched.pass_time(60)

    watched.spool(3_999)

    warned = [each for each in watched.news if isinstance(each, BudgetLow)]
    assert [pytest.approx(3_600, abs=2), pytest.approx(600, abs=2)] == [
        each.seconds for each in warned
    ]
    assert 2 == len(watched.news)
    assert pytest.approx(PER_S) == warned[0].inflow_per_s
    assert 20_000_000 == warned[0].spool_bytes_max
    assert (
        "bring Kafka back, or raise spool.bytes_max and restart; tell in"
        " mqtt.broker_queue_messages what the MQTT broker queues" == warned[0].remedy
    )


def test_nothing_is_said_while_kafka_is_there() -> None:
    watched = Watched(spool_bytes_max=1_000)

    watched.pass_time(200)

    assert [] == watched.news


def test_what_is_said_is_in_the_catalogue_field_by_field() -> None:
    low = BudgetLow(
        seconds=1.0,
        spool_bytes=1,
        spool_bytes_max=1,
        inflow_per_s=1.0,
        is_unknown_after=True,
        remedy="",
    )
    recovered = BudgetRecovered(seconds=1.0)

    assert set(CATALOGUE["outage_budget_low"].fields) == set(structs.asdict(low))
    assert set(CATALOGUE["outage_budget_recovered"].fields) == set(structs.asdict(recovered))


def test_both_bounds_crossed_at_once_are_one_warning() -> None:
    watched = Watched(spool_bytes_max=100_000)
    watched.pass_time(60)

    watched.spool(10)

    assert [BudgetLow] == [type(each) for each in watched.news]


def test_a_link_that_flaps_is_not_told_each_time() -> None:
    watched = Watched(spool_bytes_max=1_000_000)
    watched.pass_time(60)

    for _ in range(20):
        watched.pass_time(5, is_kafka_well=False)
        watched.pass_time(50)

    assert [BudgetLow] == [type(each) for each in watched.news]


def test_kafka_back_for_a_minute_is_the_end_of_it() -> None:
    watched = Watched(spool_bytes_max=1_000_000)
    watched.pass_time(60)
    watched.spool(5)

    watched.rows = 0
    watched.pass_time(62)

    assert [BudgetLow, BudgetRecovered] == [type(each) for each in watched.news]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1_000),
            st.integers(0, 10_000),
            st.booleans(),
            st.booleans(),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_whatever_happens_the_budget_is_never_negative_and_never_more_than_all_the_room(
    story: list[tuple[int, int, bool, bool, bool]],
) -> None:
    watched = Watched(spool_bytes_max=1_000_000, broker_queue_messages=1_000)
    for per_s, rows, is_kafka_well, is_reading, is_spool_writable in story:
        watched.rows = rows

        watched.pass_time(
            1,
            per_s=per_s,
            is_kafka_well=is_kafka_well,
            is_reading=is_reading,
            is_spool_writable=is_spool_writable,
        )

        seconds = watched.seconds
        inflow = watched.budget.inflow_per_s
        assert seconds is not None
        assert 0 <= seconds
        assert inflow < 1e-6 or seconds * inflow <= 1_000_000 / COST + 1_000 + 1e-6
