"""When our own certificates end: read now and then, in a thread, and told before it is too late."""

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bridge.config.regular_files import open_regular
from bridge.config.sections import BridgeConfig
from bridge.observe.link_metrics import Link
from bridge.observe.log import EventLog
from bridge.runtime import clock
from bridge.runtime.live_check.certificate import from_pem

LOOK_EVERY_S: Final = 60.0
"""A renewed file is seen within a minute; both take 0.2 ms in their thread."""
DAYS_TOLD: Final = (30, 14, 7, 3, 1, 0)
"""With so many days left it is told, once each."""
_DAY_S: Final = 86_400.0
_BYTES_MAX: Final = 1_048_576
"""Far above any chain; `cert_file` may name something endless."""


class CertificateWatch:
    """Know when each certificate ends; the files are read by a thread, never by the loop.

    Invariant: each stage of `DAYS_TOLD` is told once for one end, so a certificate that nobody
    renews is six lines in a month, and a renewed one begins anew.
    """

    def __init__(self, files: Mapping[Link, Path], log: EventLog) -> None:
        self.ends: dict[Link, float] = dict.fromkeys(files, math.nan)
        """When each ends, Unix seconds; NaN until it was read, and where it is not legible."""
        self._last_ends: dict[Link, float] = {}
        """The same of the last that was legible: what comes after it is compared with it."""
        self._files = files
        self._log = log
        self._told: dict[Link, int] = {}
        """The stage that was told last, as a place in `DAYS_TOLD`."""
        self._errors: dict[Link, str] = {}

    def follow(self, files: Mapping[Link, Path]) -> None:
        """Look at these from now on; what is known of a file that stays is kept."""
        self.ends = {
            link: self.ends[link] if self._files.get(link) == file else math.nan
            for link, file in files.items()
        }
        self._last_ends = {
            link: end
            for link, end in self._last_ends.items()
            if self._files.get(link) == files.get(link)
        }
        self._files = files

    async def run(self) -> None:
        """Look, wait, look again, for ever."""
        while True:
            for link, file in dict(self._files).items():
                found = await asyncio.to_thread(_end_of, file)
                if self._files.get(link) == file:
                    self.learn(link, found, clock.unix_s())
            await asyncio.sleep(LOOK_EVERY_S)

    def learn(self, link: Link, found: float | str, unix_s: float) -> None:
        """Take when a certificate ends, or why that is not known; tell what is news."""
        if isinstance(found, str):
            self.ends[link] = math.nan
            if self._errors.get(link) != found:
                self._errors[link] = found
                self._log.emit(
                    "certificate_unreadable", link=link, path=str(self._files[link]), error=found
                )
            return
        self._errors.pop(link, None)
        before, self.ends[link] = self._last_ends.get(link, math.nan), found
        self._last_ends[link] = found
        stage = _stage(found - unix_s)
        told = self._told.get(link, -1)
        self._told[link] = stage
        if found > before:
            self._tell("certificate_renewed", link, found, unix_s)
            told = -1
        if stage > told:
            name = "certificate_expired" if found <= unix_s else "certificate_expires_soon"
            self._tell(name, link, found, unix_s)

    def _tell(self, event: str, link: Link, end_s: float, unix_s: float) -> None:
        self._log.emit(
            event,
            link=link,
            path=str(self._files[link]),
            ends_at=datetime.fromtimestamp(end_s, UTC).isoformat(),
            days_left=round((end_s - unix_s) / _DAY_S, 1),
        )


def _stage(left_s: float) -> int:
    """Count the stages that are reached, less one: -1 is none."""
    return sum(left_s <= days * _DAY_S for days in DAYS_TOLD) - 1


def _end_of(file: Path) -> float | str:
    """Read when a certificate ends, or say why that is not known; blocking, so for a thread."""
    try:
        with open_regular(file) as opened:
            text = opened.read(_BYTES_MAX).decode("utf-8", "replace")
        return from_pem(text).not_after_unix
    except (OSError, ValueError) as error:
        return str(error)


def certificate_files(config: BridgeConfig) -> dict[Link, Path]:
    """List the certificates that the configuration names as files."""
    files: dict[Link, Path] = {}
    tls = config.mqtt.tls
    if tls is not None and tls.cert_file is not None:
        files[Link.MQTT] = Path(tls.cert_file)
    location = config.kafka.properties.get("ssl.certificate.location")
    if isinstance(location, str) and location:
        files[Link.KAFKA] = Path(location)
    return files
