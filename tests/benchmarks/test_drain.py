from pathlib import Path

import msgspec
import pytest

from benchmarks.drain import main
from benchmarks.figures import OURS
from tests.support.kafka_choice import ChosenKafka
from tests.support.mosquitto import find_mosquitto


@pytest.mark.slow
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
def test_a_small_run_brings_every_message_to_kafka_and_says_so(
    kafka: ChosenKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"

    words = ["--messages=2000", "--pairs=1", f"--kafka={kafka.bootstrap}", f"--json={figures}"]
    code = main([*words, "--only", *OURS])

    assert code == 0
    drains = msgspec.json.decode(figures.read_bytes())["drains"]
    assert list(OURS) == [each["contender"] for each in drains]
    assert [2_000] * 4 == [each["messages"] for each in drains]
    assert "promise against baseline" in capsys.readouterr().out
