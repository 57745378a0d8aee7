"""How tests are written: sentences for names, real parts instead of patches, no sleeping."""

import ast
from collections.abc import Iterator

from tests.tidy.sources import Source, dotted_name, functions, sources

_WORDS_MIN = 3  # Subject, verb and what: test_integers_stay_exact.
_MAY_SLEEP = "tests/support/eventually.py"


def test_the_name_of_every_test_is_a_sentence() -> None:
    too_short = [
        f"{source.path}:{function.lineno} {function.name}"
        for source in sources("tests")
        if source.is_test
        for function in functions(source)
        if function.name.startswith("test_") and len(_words(function.name)) < _WORDS_MIN
    ]

    assert too_short == []


def test_our_own_code_is_never_patched_but_given_what_it_needs() -> None:
    patched = [found for source in sources("tests", "benchmarks") for found in _patches(source)]

    assert patched == []


def test_tests_wait_for_what_happens_and_never_just_sleep() -> None:
    sleeping = [
        f"{source.path}:{call.lineno}"
        for source in sources("tests")
        if source.path != _MAY_SLEEP
        for call in _calls(source)
        if dotted_name(call.func) in {"time.sleep", "sleep", "asyncio.sleep"} and not _is_zero(call)
    ]

    assert sleeping == []


def _words(name: str) -> list[str]:
    return [word for word in name.removeprefix("test_").split("_") if word]


def _calls(source: Source) -> Iterator[ast.Call]:
    return (node for node in ast.walk(source.tree) if isinstance(node, ast.Call))


def _is_zero(call: ast.Call) -> bool:
    """Tell whether it only lets the event loop turn once."""
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and not call.args[0].value


def _patches(source: Source) -> Iterator[str]:
    ours: set[str] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module.split(".")[0] == "bridge":
                ours.update(alias.asname or alias.name for alias in node.names)
            if "mock" in node.module.split(".") or _names_mock(node):
                yield f"{source.path}:{node.lineno} imports {node.module}"
        elif isinstance(node, ast.Import):
            ours.update(a.asname or "bridge" for a in node.names if a.name.startswith("bridge"))
    for call in _calls(source):
        is_patch = dotted_name(call.func) in {"monkeypatch.setattr", "monkeypatch.delattr"}
        if is_patch and call.args and _is_ours(call.args[0], ours):
            yield f"{source.path}:{call.lineno} patches {ast.unparse(call.args[0])}"


def _names_mock(node: ast.ImportFrom) -> bool:
    return node.module == "unittest" and any(alias.name == "mock" for alias in node.names)


def _is_ours(target: ast.expr, ours: set[str]) -> bool:
    if isinstance(target, ast.Constant) and isinstance(target.value, str):
        return target.value.split(".")[0] == "bridge"
    return dotted_name(target).split(".")[0] in ours
