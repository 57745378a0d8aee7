"""The JSON Schema of the file, with the docstrings of sections.py as descriptions."""

import ast
import functools
import inspect
from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.config import sections
from bridge.config.sections import BridgeConfig


def build_schema() -> dict[str, Any]:
    """Return the JSON Schema that editors and other tools read."""
    schema = msgspec.json.schema(BridgeConfig)
    for struct, definition in schema["$defs"].items():
        for key, text in descriptions().get(struct, {}).items():
            definition["properties"][key]["description"] = text
    ranges = schema["$defs"]["ValidationSection"]["properties"]["ranges"]
    ranges["default"] = {name: list(bounds) for name, bounds in sections.RANGES.items()}
    secret = schema["$defs"]["Secret"]
    secret["minProperties"] = secret["maxProperties"] = 1
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@functools.cache
def descriptions() -> Mapping[str, Mapping[str, str]]:
    """Return, of each struct and each of its keys, the docstring below the key."""
    found: dict[str, dict[str, str]] = {}
    for struct in ast.parse(inspect.getsource(sections)).body:
        if not isinstance(struct, ast.ClassDef):
            continue
        texts = found.setdefault(struct.name, {})
        for statement, below in zip(struct.body, struct.body[1:], strict=False):
            match statement, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=key)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    texts[key] = inspect.cleandoc(text)
    return found
