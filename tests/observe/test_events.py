import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.observe.catalogue import fleet, following, kafka, mqtt, process, spool, watch
from bridge.observe.catalogue.entry import Event, Level
from bridge.observe.events import CATALOGUE, render_markdown

PAGE = Path(__file__).parents[2] / "docs" / "log-events.md"
SOURCES = Path(__file__).parents[2] / "bridge"
ENTRIES = (
    *(*process.EVENTS, *mqtt.EVENTS, *kafka.EVENTS),
    *(*spool.EVENTS, *fleet.EVENTS, *following.EVENTS, *watch.EVENTS),
)


def test_the_reference_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_markdown(), (
        "run: python -m bridge.observe.events > docs/log-events.md"
    )


def test_no_event_is_listed_twice() -> None:
    assert len(CATALOGUE) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_is_well_formed(entry: Event) -> None:
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", entry.name)
    assert entry.meaning.endswith(".")
    assert not {"event", "level", "timestamp", "line_cut"} & entry.allowed
    assert all(re.fullmatch(r"[a-z0-9_]+", field) for field in entry.fields)


@pytest.mark.parametrize(
    "entry", [e for e in ENTRIES if e.level is Level.ERROR], ids=lambda entry: entry.name
)
def test_an_error_says_what_to_do(entry: Event) -> None:
    assert entry.action


def emit_calls() -> Iterator[tuple[str, ast.Call, str]]:
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="emit"), args=[ast.Constant(value=str(name)), *_]
                ):
                    yield name, node, f"{path.relative_to(SOURCES)}:{node.lineno}"


def test_every_event_that_the_code_emits_is_listed_with_its_fields() -> None:
    unlisted = {
        where: {name} if name not in CATALOGUE else fields - CATALOGUE[name].allowed
        for name, call, where in emit_calls()
        for fields in [{keyword.arg for keyword in call.keywords if keyword.arg}]
        if name not in CATALOGUE or fields - CATALOGUE[name].allowed
    }

    assert unlisted == {}


def fields_written_at_once() -> dict[str, set[str] | None]:
    """Map each event that the code names to the fields of its calls; None where ** hides some."""
    found: dict[str, set[str] | None] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        if path.parent.name == "catalogue":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in CATALOGUE:
                found.setdefault(node.value, None)
    hidden = {name for name, call, _ in emit_calls() if None in {k.arg for k in call.keywords}}
    for name, call, _ in emit_calls():
        if name not in hidden:
            found[name] = (found[name] or set()) | {str(each.arg) for each in call.keywords}
    return found


def test_every_listed_event_is_emitted_and_every_listed_field_is_written() -> None:
    written = fields_written_at_once()

    assert set() == set(CATALOGUE) - set(written), "listed, and nobody emits them"
    unwritten = {
        name: set(CATALOGUE[name].fields) - fields
        for name, fields in written.items()
        if fields is not None and set(CATALOGUE[name].fields) - fields
    }
    assert {} == unwritten
