"""What is known of the fleet, from one start to the next: one file, written whole or not at all.

Nothing is promised of it: where it cannot be kept or read, that is said once, and the machines
learn anew. They write themselves in slices, between which the loop turns.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from bridge.config.regular_files import open_regular
from bridge.observe.log import EventLog
from bridge.runtime import clock

FILE_NAME: Final = "fleet.state"
SAVE_EVERY_S: Final = 30.0
_FORMAT: Final = 1
_FILE_BYTES_MAX: Final = 268_435_456
_CLOSE_TIMEOUT_S: Final = 2.0

_T = TypeVar("_T")


class Machine(Protocol):
    """A room that has a state to keep."""

    def dump(self, *, is_settled: bool) -> Iterator[bytes]:
        """Write the state in slices; `is_settled` says that all it saw is safe."""

    def load(self, written: bytes, *, away_s: float) -> None:
        """Take over a slice; `away_s` by the wall clock since it was written.

        Raises:
            ValueError: It cannot be read.
        """


class Kept(msgspec.Struct, array_like=True):
    """The content of the file."""

    format: int
    client_id: str
    saved_at: float
    """Unix seconds, UTC."""
    slices: list[tuple[str, bytes]]
    """Each with the name of its machine."""


class FleetState:
    """Load once, save now and then; one write at a time, in a thread."""

    def __init__(
        self, directory: Path, machines: Mapping[str, Machine], *, client_id: str, log: EventLog
    ) -> None:
        self._path = directory / FILE_NAME
        self._machines = dict(machines)
        self._client_id = client_id
        self._log = log
        self._thread = ThreadPoolExecutor(1, "fleet-state")
        self._is_lack_told = False

    def keep(self, name: str, machine: Machine) -> None:
        """Keep one more, which was turned on since the start."""
        self._machines[name] = machine

    async def load(self) -> None:
        """Give each machine what it had written."""
        if not self._machines:
            return
        kept, why = await self._in_thread(lambda: _read(self._path))
        if kept is None or kept.client_id != self._client_id:
            if why:
                self._tell_lack(why)
            return
        away_s = max(0.0, clock.unix_s() - kept.saved_at)
        for name, written in kept.slices:
            machine = self._machines.get(name)
            if machine is None:
                continue
            try:
                machine.load(written, away_s=away_s)
            except ValueError as error:
                self._tell_lack(f"{name}: {error}")

    async def run(self) -> None:
        """Save again and again."""
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            await self.save(is_settled=False)

    async def save(self, *, is_settled: bool) -> None:
        """Write what the machines know now."""
        if not self._machines:
            return
        slices: list[tuple[str, bytes]] = []
        for name, machine in list(self._machines.items()):  # One may be turned on meanwhile.
            for written in machine.dump(is_settled=is_settled):
                slices.append((name, written))
                await asyncio.sleep(0)
        kept = Kept(_FORMAT, self._client_id, clock.unix_s(), slices)
        why = await self._in_thread(lambda: _write(self._path, kept))
        if why:
            self._tell_lack(why)

    async def close(self, *, is_settled: bool) -> None:
        """Write for the last time; a disk that hangs is not waited for."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.save(is_settled=is_settled)
        except TimeoutError:
            self._tell_lack("the disk took too long")
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _tell_lack(self, why: str) -> None:
        if not self._is_lack_told:
            self._is_lack_told = True
            self._log.emit("fleet_state_failed", path=str(self._path), error=why)


def _read(path: Path) -> tuple[Kept | None, str]:
    try:
        with open_regular(path) as opened:
            kept = msgspec.msgpack.decode(opened.read(_FILE_BYTES_MAX), type=Kept)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, error.strerror or str(error)
    except (ValueError, RecursionError) as error:  # msgspec's errors are among the former.
        return None, f"the file cannot be read: {error}"
    if kept.format != _FORMAT:
        return None, f"the file has format {kept.format}, this version knows {_FORMAT}"
    return kept, ""


def _write(path: Path, kept: Kept) -> str:
    beside = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as opened:  # noqa: PTH123  a descriptor, for its mode
            opened.write(msgspec.msgpack.encode(kept))
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(path)
    except OSError as error:
        return error.strerror or str(error)
    return ""
