"""How a batch is cut apart by its brackets, and how little that costs whatever is sent."""

import pytest

from bridge.pipeline.formats.batches import TOKEN, cut_json, split_json
from bridge.pipeline.verdict import Rejected

BEGUN = b'{"batch_id":"x","readings":["'


@pytest.mark.parametrize(
    "rest",
    [b"", b"a" * 99, b'\\"' * 99, b'\\"' * 99 + b"\\", b"\\\\" * 99, b", [{" * 99],
    ids=["nothing", "letters", "quotes", "quotes and a backslash", "backslashes", "brackets"],
)
def test_a_string_that_nobody_closes_is_one_token_to_the_end(rest: bytes) -> None:
    text = b'[1, "' + rest

    spans = [token.span() for token in TOKEN.finditer(text)]

    assert [(0, 1), (2, 3), (4, len(text))] == spans


def test_quotes_without_an_end_are_refused_in_one_pass() -> None:
    # 1 MiB: sought again from each of its quotes, this test would not end today.
    assert isinstance(split_json(BEGUN + b'\\"' * 524_000), Rejected)


@pytest.mark.parametrize("end", [b"", b"\\", b'"', b'"]', b'\\"]}'])
def test_a_batch_whose_brackets_do_not_close_is_not_cut(end: bytes) -> None:
    assert cut_json(BEGUN + end) is None


def test_a_batch_is_cut_at_its_commas_and_not_at_those_in_its_strings() -> None:
    cut = cut_json(rb'{"batch_id": "a\",b" , "readings": ["\\", {"a": "],"} , NaN]}')

    assert cut is not None
    assert {"batch_id": rb'"a\",b"'} == {name: bytes(each) for name, each in cut[0].items()}
    assert [rb'"\\"', b'{"a": "],"}', b"NaN"] == cut[1]
