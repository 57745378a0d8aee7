import re
import tomllib
from pathlib import Path

import pytest

from bridge.config import load, reference
from bridge.config.schema import build_schema, descriptions
from bridge.config.sections import BridgeConfig
from bridge.config.shape import ALL_KEYS

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "config" / "bridge.toml"


def test_the_committed_reference_is_current() -> None:
    """Mended by `python -m bridge.config.reference > docs/configuration.md`."""
    committed = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    assert committed == reference.render()


def test_the_sample_is_the_defaults() -> None:
    loaded = load(SAMPLE, environment={})

    assert loaded.config == BridgeConfig()
    assert loaded.warnings == ()


@pytest.mark.parametrize("key", ALL_KEYS)
def test_the_sample_has_every_key(key: str) -> None:
    table, _, name = key.rpartition(".")
    text = SAMPLE.read_text(encoding="utf-8")

    if f"[{key}]" in text:  # A table of any keys.
        return
    section = re.search(
        rf"^(# )?\[+{re.escape(table)}\]+\n(.*?)(?=^(# )?\[|\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert section is not None
    assert re.search(rf"^(# )?(or, instead: )?{name} = ", section[2], re.MULTILINE)


def test_what_the_sample_comments_out_is_valid_too(tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    uncommented = re.sub(r'^# (?=(\[|\]$|"|  \{|[a-z_]+ = ))', "", text, flags=re.MULTILINE)
    path = tmp_path / "x.toml"
    path.write_text(uncommented, encoding="utf-8")

    loaded = load(path, environment={}, reads_files=False)

    assert tomllib.loads(uncommented) != tomllib.loads(text)
    assert loaded.config.mqtt.tls is not None
    assert loaded.config.registry is not None
    assert loaded.config.validation.types.keys() == {"boiler"}
    assert loaded.config.layout["meter"].byte_order == "little"
    assert loaded.config.protobuf["pump"].fields.metadata == {"mode": "mode"}


def test_every_key_of_every_table_has_a_description() -> None:
    schema = build_schema()

    missing = [
        f"{struct}.{key}"
        for struct, definition in schema["$defs"].items()
        for key, entry in definition["properties"].items()
        if struct != "BridgeConfig" and "description" not in entry
    ]

    assert missing == []
    assert descriptions()["Route"]["filter"] == "Topic Filter; its one + is the device id."
