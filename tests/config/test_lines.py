import json
import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from bridge.config.lines import lines_of
from bridge.config.paths import KeyPath, children

BARE_KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True)
TEXTS = st.text(st.sampled_from("ab.#'\"[]{},= \\\n\té☃"), max_size=8)
KEYS = st.one_of(BARE_KEYS, TEXTS)
BLANKS = st.sampled_from(["", " ", "\t", "\n", "  # a ] comment }\n", "\n\n"])
SCALARS = st.sampled_from(
    [
        *("1", "-0.5e3", "true", "1979-05-27 07:32:00Z", "07:32:00", "inf", "0xDEAD_BEEF"),
        *("''", '""', '"""a # ] "b" \\\n  """', "'''it's\n[x]\n'''", '"""a""""'),
        *('"""\n\\""""""', "'''a'''''", '""""""'),
    ]
)
COMMAS = st.sampled_from(["", ","])
KINDS = ["scalar", "text", "array", "table"]


def basic_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    kind = draw(st.sampled_from(KINDS if depth else KINDS[:1]))
    if kind == "scalar":
        return draw(SCALARS)
    if kind == "text":
        return basic_string(draw(TEXTS))
    if kind == "array":
        elements = draw(st.lists(values(depth=depth - 1), max_size=3))
        joined = ",".join(f"{draw(BLANKS)}{element}{draw(BLANKS)}" for element in elements)
        return f"[{draw(BLANKS)}{joined}{draw(COMMAS) if elements else ''}\n]"
    keys = draw(st.lists(KEYS, max_size=3, unique=True))
    pairs = [f"{basic_string(key)} = {draw(values(depth=depth - 1))}" for key in keys]
    return "{ " + ", ".join(pairs) + " }"


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    """Return a document, and the line of each key that begins a line in it."""
    text = draw(BLANKS)
    expected: dict[KeyPath, int] = {}

    def add(path: KeyPath, line_text: str) -> None:
        nonlocal text
        if text and not text.endswith("\n"):
            text += "\n"
        expected.setdefault(path, text.count("\n") + 1)
        text += line_text + draw(st.sampled_from(["\n", ' # [x] = "\n', "\n\n"]))

    def add_pairs(table: KeyPath) -> None:
        for key in draw(st.lists(KEYS, max_size=3, unique=True)):
            written = key if key.isascii() and key.isalnum() else basic_string(key)
            add((*table, key), f"{written} = {draw(values())}")

    add_pairs(())
    taken = {path[0] for path in expected}
    for name in draw(st.lists(BARE_KEYS.filter(lambda key: key not in taken), unique=True)):
        if draw(st.booleans()):
            add((name,), f"[{name}]")
            add_pairs((name,))
        else:
            for index in range(draw(st.integers(1, 3))):
                add((name, index), f"[[ {name} ]]")
                add_pairs((name, index))
                if draw(st.booleans()):
                    add((name, index, "zz.inner"), f'[{name} . "zz.inner"]')
                    add_pairs((name, index, "zz.inner"))
    return text, expected


def paths_of(tree: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    for level, value in children(tree):
        yield (*path, level)
        yield from paths_of(value, (*path, level))


@given(documents())
def test_the_scanner_finds_exactly_the_keys_of_the_parser_on_their_lines(
    document: tuple[str, dict[KeyPath, int]],
) -> None:
    text, expected = document
    parsed = tomllib.loads(text)

    lines = lines_of(text)

    assert set(lines) == set(paths_of(parsed))
    assert {path: lines[path] for path in expected} == expected


@given(documents())
def test_windows_line_endings_change_no_line(document: tuple[str, dict[KeyPath, int]]) -> None:
    text, _ = document

    lines = lines_of(text.replace("\n", "\r\n"))

    assert lines == lines_of(text)


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        pytest.param("a.b.c = 1", ("a", "b", "c"), 1, id="dotted key"),
        pytest.param("\n[a]\nb . 'c.d' = 1", ("a", "b", "c.d"), 3, id="quoted part"),
        pytest.param('x = """\n[a]\nb = 1\n"""\n[a]\nb=2', ("a", "b"), 6, id="table in a string"),
        pytest.param("a = [\n 1, # ]\n 2\n]", ("a", 1), 3, id="array element"),
        pytest.param("a = { b = 1, c.d = 2 }", ("a", "c", "d"), 1, id="inline table"),
        pytest.param("[[r]]\nx=1\n[[r]]\n[r.t]\nx=2", ("r", 1, "t", "x"), 5, id="array of tables"),
        pytest.param("[a.b]\n[a]\nc=1", ("a",), 1, id="table named late"),
        pytest.param('"\\u00e9\\n" = 1', ("é\n",), 1, id="escaped key"),
    ],
)
def test_a_key_is_found_on_its_line(text: str, path: KeyPath, line: int) -> None:
    lines = lines_of(text)

    assert lines[path] == line
