import pytest

from benchmarks.noisy_device import OTHERS, run
from tests.support.kafka_choice import ChosenKafka
from tests.support.mosquitto import find_mosquitto


@pytest.mark.slow
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
def test_only_the_noisy_device_is_limited_and_only_the_others_are_measured(
    kafka: ChosenKafka,
) -> None:
    ((alone, beside),) = run(1, 4.0, warm_up_s=2.0, bootstrap=kafka.bootstrap)

    assert (False, True) == (alone.is_noisy, beside.is_noisy)
    assert 0 == alone.limited
    assert beside.limited > 0
    assert alone.records >= OTHERS
    assert alone.p50_ms <= alone.p99_ms
