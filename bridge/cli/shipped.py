"""Files that the wheel carries beside the code: units, sample configuration, monitoring."""

from importlib import resources
from pathlib import Path
from typing import Final

_IN_PACKAGE: Final = "shipped"
_IN_CHECKOUT: Final = {
    "systemd": "deploy/systemd",
    "monitoring/runbook.md": "docs/runbook.md",
    "monitoring": "deploy/monitoring",
    "bridge.toml": "config/bridge.toml",
}
"""Where they lie in the repository; pyproject.toml puts them into the wheel under these names."""


def read_shipped(name: str) -> str:
    """Return the text of one of them by its name in the wheel, from there or from a checkout."""
    packed = resources.files("bridge").joinpath(_IN_PACKAGE, *name.split("/"))
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    return _unpacked(name).read_text(encoding="utf-8")


def _unpacked(name: str) -> Path:
    repository = Path(__file__).parents[2]
    if name in _IN_CHECKOUT:
        return repository / _IN_CHECKOUT[name]
    first, _, rest = name.partition("/")
    return repository / _IN_CHECKOUT[first] / rest
