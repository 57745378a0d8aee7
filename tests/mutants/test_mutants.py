"""The tests can fail: each deliberate bug is found, and by the sentence that it breaks."""

import re
from pathlib import Path

import pytest

from tests.mutants.laboratory import copy_bridge, run_seeds, run_test
from tests.mutants.table import MUTANTS, Mutant

NODE_IDS = sorted({each.node_id for each in MUTANTS if each.node_id is not None})


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_a_deliberate_bug_is_found_by_the_sentence_that_it_breaks(
    mutant: Mutant, tmp_path: Path
) -> None:
    copy = copy_bridge(tmp_path, mutant)

    outcome = run_seeds(copy) if mutant.node_id is None else run_test(copy, mutant.node_id)

    assert outcome.is_found, f"{mutant.name} was not found"
    assert re.search(mutant.sentence, outcome.sentence), outcome.sentence


def test_without_a_bug_nothing_is_found(tmp_path: Path) -> None:
    copy = copy_bridge(tmp_path, None)

    found = [run_seeds(copy), *(run_test(copy, each) for each in NODE_IDS)]

    assert [] == [each.sentence for each in found if each.is_found]
