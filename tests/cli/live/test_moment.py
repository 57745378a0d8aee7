import math

import pytest
from hypothesis import given, strategies as st

from bridge.cli.live.answers import Answered, Away, Buckets, Check, Device, Refused, Status
from bridge.cli.live.moment import Latency, Observer, quantile

NOON = "2026-11-25T12:00:00Z"
LATER = "2026-11-25T12:00:05Z"
BUCKETS: Buckets = ((0.001, 0), (0.005, 50), (0.01, 99), (0.5, 100), (math.inf, 100))


def answered(
    *, uptime_s: float = 100.0, latency: Buckets = (), device_id: str = "dev-1", **letters: int
) -> Answered:
    return Answered(
        status=Status(
            version="1",
            ready=True,
            checks={"kafka": Check(ok=True, state="answers")},
            uptime_s=uptime_s,
            dead_letters=letters,
        ),
        devices=(Device(device_id),),
        latency=latency,
    )


def observer() -> Observer:
    return Observer("http://bridge:9464", sort="rate")


def test_one_look_has_latencies_of_all_time_and_no_rate_of_dead_letters() -> None:
    moment = observer().look(answered(latency=BUCKETS, empty=3), now_s=0.0, now=NOON)

    assert Latency(p50_s=0.005, p99_s=0.01) == moment.latency
    assert [("empty", 3, None)] == [(e.reason, e.count, e.per_s) for e in moment.dead_letters]


def test_two_looks_tell_what_happened_between_them() -> None:
    watching = observer()
    watching.look(answered(latency=BUCKETS, empty=3, too_large=9), now_s=0.0, now=NOON)
    slower = tuple((bound, count + (100 if bound >= 0.5 else 0)) for bound, count in BUCKETS)

    moment = watching.look(
        answered(uptime_s=102.0, latency=slower, empty=7, too_large=9), now_s=2.0, now=LATER
    )

    assert Latency(p50_s=0.255, p99_s=0.4951) == moment.latency
    assert [("empty", 2.0), ("too_large", 0.0)] == [
        (each.reason, each.per_s) for each in moment.dead_letters
    ]


def test_a_bridge_that_started_anew_is_not_compared_with_the_one_before() -> None:
    watching = observer()
    watching.look(answered(latency=BUCKETS, empty=300), now_s=0.0, now=NOON)

    moment = watching.look(answered(uptime_s=1.0, empty=1), now_s=5.0, now=LATER)

    assert Latency() == moment.latency
    assert [None] == [each.per_s for each in moment.dead_letters]


def test_rates_forget_what_is_older_than_ten_seconds() -> None:
    watching = observer()
    for second in range(40):
        count = 1_000 if second else 0
        moment = watching.look(
            answered(uptime_s=100.0 + second, empty=count + second), now_s=second, now=NOON
        )

    assert [1.0] == [each.per_s for each in moment.dead_letters]


def test_a_bridge_that_goes_away_is_away_since_then_and_comes_back() -> None:
    watching = observer()
    watching.look(answered(), now_s=0.0, now=NOON)

    first = watching.look(Away("connection refused"), now_s=5.0, now=LATER)
    second = watching.look(Away("connection refused"), now_s=8.0, now="later still")
    back = watching.look(answered(), now_s=9.0, now="back")

    assert ("away", LATER, 0.0, None) == (first.state, first.since, first.for_s, first.status)
    assert ("away", LATER, 3.0) == (second.state, second.since, second.for_s)
    assert ("answers", "back", "") == (back.state, back.since, back.reason)


def test_a_refusal_is_told_in_its_own_words() -> None:
    moment = observer().look(Refused("401: give the token"), now_s=0.0, now=NOON)

    assert ("refuses", "401: give the token") == (moment.state, moment.reason)


@pytest.mark.parametrize("forbidden", ["\x1b", "\x9b", "\u202e", "\r", "\n"])
def test_no_text_of_an_answer_is_a_command_of_the_terminal(forbidden: str) -> None:
    text = f"a{forbidden}b"
    answer = Answered(
        status=Status(
            version=text,
            ready=False,
            checks={text: Check(state=text, detail=text)},
            dead_letters={text: 1},
        ),
        devices=(Device(text),),
    )

    moment = observer().look(answer, now_s=0.0, now=NOON)

    assert moment.status is not None
    texts = [
        moment.status.version,
        *moment.status.checks,
        *(text for part in moment.parts for text in (part.name, part.state, part.detail)),
        *(each.reason for each in moment.dead_letters),
        *(each.device_id for each in moment.devices),
    ]
    assert 7 == len(texts)
    assert [] == [text for text in texts if forbidden in text]


@given(
    st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any),
    st.floats(0.01, 1.0),
)
def test_a_quantile_lies_within_the_bucket_that_holds_it(counts: list[int], share: float) -> None:
    bounds = (0.01, 0.1, 1.0, math.inf)
    buckets = tuple((bound, float(sum(counts[: i + 1]))) for i, bound in enumerate(bounds))

    found = quantile(buckets, share)

    assert found is not None
    wanted = share * sum(counts)
    at = next(i for i, (_, count) in enumerate(buckets) if count >= wanted)
    lower = bounds[at - 1] if at else 0.0
    assert lower <= found + 1e-6
    assert found <= bounds[at]


def test_nothing_settled_has_no_latency() -> None:
    assert quantile((), 0.5) is None
    assert quantile(((0.1, 0.0), (math.inf, 0.0)), 0.5) is None
