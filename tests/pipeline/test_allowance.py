"""A device that sends too much: dead letters or a count, and never its backlog."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from bridge.config.sections import LimitsSection, Route, ValidationSection
from bridge.fleet.limits import Limits
from bridge.fleet.registry import DeviceEntry, DeviceLimits, Registry
from bridge.kafka.record import Record
from bridge.pipeline.allowance import Allowance
from bridge.pipeline.flow import Flow
from bridge.pipeline.policy import Policy
from bridge.pipeline.verdict import Dropped
from tests.pipeline.given import RECEIVED, Packet, message

NOW = datetime(2026, 11, 23, 17, 35, 24, tzinfo=UTC)


def flow(
    limits: LimitsSection, *, route: Route | None = None, registry: Registry | None = None
) -> Flow:
    routes = [route or Route()]
    return Flow(
        routes=routes,
        dead_letter_topic="dlq",
        validation=ValidationSection(),
        entropy=bytes,
        policy=Policy.of(
            ValidationSection(), registry or Registry(), Allowance.of(limits, routes, Limits())
        ),
    )


def packets(count: int, *, apart_s: float = 0.0, retain: bool = False) -> list[Packet]:
    """Messages of one device, the last one of now; each has content of its own."""
    return [
        Packet(
            payload=message(
                timestamp=(NOW - timedelta(seconds=apart_s * (count - 1 - number))).isoformat(),
                metrics={"n": number},
            ),
            retain=retain,
        )
        for number in range(count)
    ]


def reasons(outcomes: Sequence[object]) -> list[str]:
    letters = [each for each in outcomes if isinstance(each, Record)]
    return [each.dead_letter.reason for each in letters if each.dead_letter is not None]


def test_more_than_the_burst_at_once_are_dead_letters_that_may_be_replayed() -> None:
    outcomes = list(flow(LimitsSection()).process(packets(25), RECEIVED))

    assert ["rate_limited"] * 5 == reasons(outcomes)
    assert isinstance(outcomes[-1], Record)
    headers = dict(outcomes[-1].headers)
    assert (b"policy", b"true") == (headers["dlq.layer"], headers["dlq.retryable"])
    assert b"device sends more than 10 messages/s, burst 20" == headers["dlq.detail"]


def test_dropped_if_configured_they_are_counted_and_no_record_is_made() -> None:
    outcomes = flow(LimitsSection(on_exceed="drop")).process(packets(25), RECEIVED)

    assert 5 == sum(isinstance(each, Dropped) for each in outcomes)


def test_a_backlog_is_as_much_as_its_own_timestamps_say() -> None:
    outcomes = list(flow(LimitsSection()).process(packets(600, apart_s=1.0), RECEIVED))

    assert [] == reasons(outcomes)


def test_while_our_clock_is_doubted_a_backlog_sets_no_mark_and_brings_nothing() -> None:
    limited = flow(LimitsSection())
    limited.trust_clock(is_trusted=False)
    sent = packets(30, apart_s=-3_600.0)

    doubted = reasons(list(limited.process(sent, RECEIVED)))
    limited.trust_clock(is_trusted=True)
    later = msgspec.structs.replace(RECEIVED, monotonic_s=RECEIVED.monotonic_s + 60)
    trusted = reasons(list(limited.process(packets(100, apart_s=1.0), later)))

    assert ["rate_limited"] * 10 == doubted
    assert [] == trusted


def test_a_message_that_comes_again_after_it_was_limited_is_no_duplicate() -> None:
    limited = flow(LimitsSection())
    sent = packets(21)
    limited.process(sent, RECEIVED)
    later = msgspec.structs.replace(RECEIVED, monotonic_s=RECEIVED.monotonic_s + 60)

    (again,) = limited.process(sent[-1:], later)

    assert isinstance(again, Record)
    assert again.dead_letter is None


def test_retained_copies_count_for_no_limit() -> None:
    outcomes = list(flow(LimitsSection()).process(packets(50, retain=True), RECEIVED))

    assert [] == reasons(outcomes)


@pytest.mark.parametrize(
    ("route", "limited"),
    [
        pytest.param(Route(priority="high"), 0, id="high priority is exempt"),
        pytest.param(Route(priority="high", per_device_per_s=1.0), 30, id="unless the route says"),
        pytest.param(Route(per_device_per_s=0.0), 0, id="a route may have none"),
        pytest.param(Route(priority="low"), 30, id="low is limited like medium"),
    ],
)
def test_a_route_may_have_a_limit_of_its_own(route: Route, limited: int) -> None:
    outcomes = list(flow(LimitsSection(), route=route).process(packets(50), RECEIVED))

    assert limited == len(reasons(outcomes))


def test_the_registry_says_what_a_device_may_send() -> None:
    registry = Registry()
    registry.replace({"dev-0001": DeviceEntry(limits=DeviceLimits(per_device_per_s=5, burst=40))})

    outcomes = list(flow(LimitsSection(), registry=registry).process(packets(50), RECEIVED))

    assert 10 == len(reasons(outcomes))
