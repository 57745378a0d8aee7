"""Load with a fault each so often, as long as one can wait: memory and descriptors stay flat."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.campaign import BROKEN, UNAVAILABLE, USAGE, Options, Outcome, main, run
from tests.faults.chaos import Happened
from tests.faults.numbered import Verdict
from tests.integration.scene import report

RESIDENT_MB_MAX = 200.0
DESCRIPTORS_MAX = 100


@pytest.mark.slow
def test_load_with_faults_of_every_kind_loses_doubles_and_reorders_nothing(
    tmp_path: Path, length: Callable[[float, float], float]
) -> None:
    options = Options(
        minutes=length(0.8, 30.0), rate_per_s=length(1_000.0, 2_000.0), every_s=length(6.0, 60.0)
    )

    outcome = run(options, tmp_path)

    report(outcome.summary())
    assert outcome.verdict.holds, outcome.verdict
    assert (0, 0) == (outcome.bridge_exit_code, outcome.residue)
    assert max(outcome.rss_peak_mb_first, outcome.rss_peak_mb_later) < RESIDENT_MB_MAX
    assert outcome.descriptors_at_end < DESCRIPTORS_MAX


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--mqtt", "h:1"], "--mqtt and --kafka are given together, or neither"),
        (["--mqtt", "h:1", "--kafka", "h:2"], "say --own-cluster if it is yours to test"),
        (["--own-cluster"], "--own-cluster says whose the brokers"),
        (["--mqtt", "nowhere"], "'nowhere' is not HOST:PORT"),
        (["--minutes", "0"], "--minutes, --rate and --every are above 0"),
    ],
)
def test_a_campaign_that_cannot_be_meant_is_refused(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(words)

    assert USAGE == refused.value.code
    assert complaint in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_told_and_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["--mqtt", "127.0.0.1:9", "--kafka", "127.0.0.1:9", "--own-cluster"])

    assert UNAVAILABLE == code
    assert "127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": Verdict(lost=1)},
        {"verdict": Verdict(doubled=1)},
        {"verdict": Verdict(out_of_order=1)},
        {"bridge_exit_code": 70},
        {"residue": 1},
        {"residue": None},
    ],
    ids=str,
)
def test_only_a_campaign_with_nothing_wrong_holds(wrong: dict[str, object]) -> None:
    sound: dict[str, object] = {
        "options": Options(),
        "verdict": Verdict(),
        "faults": [Happened(0.0, "cut", 0.0, 0, 0)],
        "bridge_exit_code": 0,
        "told_doubled": 0,
        "residue": 0,
        "rss_peak_mb_first": 1.0,
        "rss_peak_mb_later": 1.0,
        "rss_calm_mb": (1.0, 1.0),
        "descriptors_at_end": 1,
    }

    assert Outcome(**sound).holds  # type: ignore[arg-type]
    assert not Outcome(**{**sound, **wrong}).holds  # type: ignore[arg-type]
    assert BROKEN == 1
