import pytest
from hypothesis import given, strategies as st

from bridge.observe.text import FIELD_CHARACTERS_MAX, printable


@pytest.mark.parametrize(
    ("hostile", "expected"),
    [
        pytest.param("a\x1b[31mb", r"a\x1b[31mb", id="ESC"),
        pytest.param("a\rb", r"a\rb", id="CR"),
        pytest.param("a\nb", r"a\nb", id="LF"),
        pytest.param("a\0b", r"a\x00b", id="NUL"),
        pytest.param("a\x7fb", r"a\x7fb", id="DEL"),
        pytest.param("a\x85b", r"a\x85b", id="C1 next line"),
        pytest.param("a\x9bb", r"a\x9bb", id="C1 control sequence introducer"),
        pytest.param("a\u2028b", r"a\u2028b", id="line separator"),
        pytest.param("a\u2029b", r"a\u2029b", id="paragraph separator"),
        pytest.param("a\u202eb", r"a\u202eb", id="right-to-left override"),
        pytest.param("a\u2066b", r"a\u2066b", id="bidirectional isolate"),
        pytest.param("a\u200bb", r"a\u200bb", id="zero width space"),
        pytest.param("a\udc80b", r"a\udc80b", id="lone surrogate"),
        pytest.param("a\U000e0041b", r"a\U000e0041b", id="tag character"),
    ],
)
def test_what_cannot_be_printed_is_escaped(hostile: str, expected: str) -> None:
    assert printable(hostile) == expected


@pytest.mark.parametrize(
    "harmless", ["", "sensor-7", "Temperatur 21 °C", "温度", 'say "hi" \\ bye']
)
def test_what_can_be_printed_stays_as_it_is(harmless: str) -> None:
    assert printable(harmless) == harmless


def test_a_text_of_the_limit_is_not_cut() -> None:
    text = "x" * FIELD_CHARACTERS_MAX

    assert printable(text) == text


def test_a_longer_text_is_cut_and_says_how_long_it_was() -> None:
    text = "x" * 5_000

    cut = printable(text)

    assert cut.endswith("x… (cut, 5000 characters)")
    assert len(cut) <= FIELD_CHARACTERS_MAX


@given(st.text(max_size=300), st.integers(50, 120))
def test_no_text_leaves_its_line_or_its_limit(text: str, limit: int) -> None:
    safe = printable(text, limit)

    assert safe.isprintable()
    assert len(safe) <= limit
    assert len(safe.splitlines()) <= 1
