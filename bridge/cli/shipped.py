"""Files that the wheel carries beside the code: units and the sample configuration."""

from importlib import resources
from pathlib import Path
from typing import Final

_IN_PACKAGE: Final = "shipped"
_IN_CHECKOUT: Final = {"systemd": "deploy/systemd", "bridge.toml": "config/bridge.toml"}
"""Where they lie in the repository; pyproject.toml puts them into the wheel under these names."""


def read_shipped(name: str) -> str:
    """Return the text of `systemd/<unit>` or `bridge.toml`, from the wheel or from a checkout."""
    first, _, rest = name.partition("/")
    package = resources.files("bridge")
    packed = package.joinpath(_IN_PACKAGE, *name.split("/"))
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    unpacked = Path(__file__).parents[2] / _IN_CHECKOUT[first] / rest
    return unpacked.read_text(encoding="utf-8")
