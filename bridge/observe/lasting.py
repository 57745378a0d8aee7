"""Since when a part is in the state it is in: the first thing asked in an outage."""

from collections.abc import Mapping
from typing import Any


class Lasting:
    """Remembers when each part came into its state, as it was seen once a second."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[str, float]] = {}

    def note(self, checks: Mapping[str, Mapping[str, Any]], now: float) -> None:
        """Take the checks of readiness."""
        before = self._since
        self._since = {
            part: before[part]
            if part in before and before[part][0] == check["state"]
            else (check["state"], now)
            for part, check in checks.items()
        }

    def seconds(self, now: float) -> dict[str, float]:
        """Tell how long each part has been in its state."""
        return {part: now - since for part, (_, since) in self._since.items()}
