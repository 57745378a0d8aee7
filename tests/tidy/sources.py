"""Every source of the project: read and parsed once, for all the rules."""

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

REPOSITORY: Final = Path(__file__).resolve().parents[2]
_PYTHON_ROOMS: Final = ("bridge", "tests", "benchmarks", "deploy", "mosquitto")
_NOT_OURS: Final = frozenset({"__pycache__", "build", "dist", "certs", "node_modules"})


class Source(msgspec.Struct, frozen=True):
    """One Python file: its path from the repository's root, its text, its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def is_test(self) -> bool:
        """Tell whether pytest collects it."""
        return Path(self.path).name.startswith("test_")


def text_files() -> Iterator[Path]:
    """Yield every file that belongs to the project, whatever its kind."""
    for folder, folders, files in os.walk(REPOSITORY):
        folders[:] = [name for name in folders if _is_ours(name)]
        yield from (Path(folder, name) for name in files if not name.endswith(".pyc"))


def _is_ours(name: str) -> bool:
    is_hidden = name.startswith(".") and name not in {".ci", ".github"}
    return not is_hidden and name not in _NOT_OURS and not name.endswith(".egg-info")


@cache
def sources(*rooms: str) -> list[Source]:
    """Parse every Python file below these folders, or below all of them."""
    return [
        _parse(path)
        for room in rooms or _PYTHON_ROOMS
        for path in sorted((REPOSITORY / room).rglob("*.py"))
    ]


def _parse(path: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    return Source(str(path.relative_to(REPOSITORY)), text, ast.parse(text))


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: Source) -> Iterator[Function]:
    """Yield every function and method of a file."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def dotted_name(node: ast.expr) -> str:
    """Return `a.b.c` for an attribute chain, or an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted_name(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""
