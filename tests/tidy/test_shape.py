"""The shape of the code: small files, small functions, rooms that say what they are for."""

import ast
import re

from tests.tidy.sources import functions, sources

_FILE_LINES_BELOW = 500
_FUNCTION_LINES_MAX = 70
_EMPTY_WORDS = re.compile(r"manager|handler|helper|util", re.IGNORECASE)


def test_every_module_says_in_its_docstring_what_it_is_for() -> None:
    rooms = sources("bridge", "benchmarks", "tests/support")  # A test's own name says it.
    silent = [source.path for source in rooms if not ast.get_docstring(source.tree)]

    assert silent == []


def test_no_file_grows_to_five_hundred_lines() -> None:
    lengths = {source.path: source.text.count("\n") for source in sources()}

    assert {path: n for path, n in lengths.items() if n >= _FILE_LINES_BELOW} == {}


def test_every_function_fits_seventy_lines() -> None:
    lengths = {
        f"{source.path}:{function.lineno} {function.name}": _lines(function)
        for source in sources()
        for function in functions(source)
    }

    assert {where: n for where, n in lengths.items() if n > _FUNCTION_LINES_MAX} == {}


def test_no_module_or_class_hides_behind_an_empty_word() -> None:
    found = [
        f"{source.path}: {name}"
        for source in sources("bridge")
        for name in [source.path, *_class_names(source.tree)]
        if _EMPTY_WORDS.search(name)
    ]

    assert found == []


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def _class_names(tree: ast.Module) -> list[str]:
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
