import pytest
from hypothesis import given, strategies as st

from bridge.pipeline.places import EARTH_RADIUS_M, Position, distance_m

POSITIONS = st.builds(Position, st.floats(-90, 90), st.floats(-180, 180))
HALF_AROUND_M = 3.141592653589793 * EARTH_RADIUS_M


@pytest.mark.parametrize(
    ("one", "other", "kilometres"),
    [
        (Position(52.52, 13.405), Position(48.8566, 2.3522), 877.5),  # Berlin and Paris.
        (Position(40.7128, -74.006), Position(-33.8688, 151.2093), 15_988.8),  # New York, Sydney.
        (Position(0, 179.5), Position(0, -179.5), 111.2),
        (Position(90, 0), Position(-90, 77), 20_015.1),
    ],
    ids=["near", "far", "date line", "poles"],
)
def test_distances_are_those_of_the_map(one: Position, other: Position, kilometres: float) -> None:
    assert kilometres == pytest.approx(distance_m(one, other) / 1_000, rel=1e-4)


@given(POSITIONS, POSITIONS)
def test_a_distance_is_the_same_both_ways_and_never_more_than_half_around(
    one: Position, other: Position
) -> None:
    there, back = distance_m(one, other), distance_m(other, one)

    assert there == pytest.approx(back, abs=1e-3)
    assert 0 <= there <= HALF_AROUND_M * (1 + 1e-12)
    assert 0 == pytest.approx(distance_m(one, one), abs=1e-3)
