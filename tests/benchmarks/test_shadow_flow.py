import pytest

from benchmarks.shadow_flow import TRAFFIC, TRIAL, cost_us, make_batches, make_flow


@pytest.mark.parametrize(
    ("traffic", "expected"),
    [
        ("every reading passes", {"unchanged": 20, "newly_fails": 0, "newly_passes": 0}),
        ("every reading newly fails", {"unchanged": 0, "newly_fails": 20, "newly_passes": 0}),
        ("every letter newly passes", {"unchanged": 0, "newly_fails": 0, "newly_passes": 20}),
    ],
)
def test_each_traffic_is_what_it_is_called(traffic: str, expected: dict[str, int]) -> None:
    flow, shadow = make_flow(TRIAL)

    cost = cost_us(flow, make_batches(20, *TRAFFIC[traffic]))

    assert cost > 0
    assert shadow is not None
    assert expected == shadow.differences.readings
