"""Loading a text as a configuration file, as short as a test wants it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bridge.config import LoadedConfig, load
from bridge.errors import ConfigError


def load_text(
    directory: Path,
    text: str,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> LoadedConfig:
    path = directory / "x.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environment=environment or {}, overrides=overrides)


def problems_of(
    directory: Path,
    text: str,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> list[str]:
    """Return the problems of a text, its path shortened to x.toml."""
    with pytest.raises(ConfigError) as caught:
        load_text(directory, text, environment=environment, overrides=overrides)
    return [problem.replace(f"{directory}/", "") for problem in caught.value.problems]


def warnings_of(directory: Path, text: str) -> list[str]:
    """Return the warnings of a text, its path shortened to x.toml."""
    loaded = load_text(directory, text)
    return [warning.replace(f"{directory}/", "") for warning in loaded.warnings]
