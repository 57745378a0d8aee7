import os
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.fleet.registry import Changes, DeviceEntry, Registry
from bridge.runtime.registry_source import Loaded, News, Refused, RegistryFileReader

ONE = "[device.a]\ntype = 'x'\n"
TWO = ONE + "[device.b]\n"


class Stand:
    """A file, its reader, and the registry that takes over what was read."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "devices.toml"
        self.registry = Registry()
        self.reader = RegistryFileReader(self.path, self.registry, poll_s=0.0)
        self.written = 0

    def write(self, text: str) -> None:
        """Write the file; each time at another moment, as files are."""
        self.written += 1
        self.path.write_text(text, encoding="utf-8")
        os.utime(self.path, ns=(self.written * 1_000, self.written * 1_000))

    def open(self) -> None:
        self._adopt(self.reader.open())

    def step(self) -> list[News]:
        return self._adopt(self.reader.step())

    def _adopt(self, news: list[News]) -> list[News]:
        for each in news:
            if isinstance(each, Loaded):
                self.registry.adopt(each.prepared)
        return news


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    made = Stand(tmp_path)
    made.write(ONE)
    made.open()
    return made


def test_the_file_is_read_at_start(stand: Stand) -> None:
    assert {"a": DeviceEntry(type="x")} == stand.registry.entries()


def test_a_file_that_stays_as_it_is_is_not_read_again(stand: Stand) -> None:
    assert [[], [], []] == [stand.step() for _ in range(3)]


def test_a_changed_file_is_read_again_once_it_has_come_to_rest(stand: Stand) -> None:
    stand.write(TWO[:-8])
    still_written = stand.step()
    stand.write(TWO)
    seen = stand.step()
    (loaded,) = stand.step()

    assert [] == [*still_written, *seen]
    assert isinstance(loaded, Loaded)
    assert Changes(added=1, changed=0, removed=0) == loaded.prepared.changes
    assert 2 == len(stand.registry)


def test_a_bad_file_is_refused_once_and_what_was_read_before_goes_on(stand: Stand) -> None:
    stand.write(ONE + "tipe = 1\n")
    news = [stand.step() for _ in range(4)]

    problem = f'registry file "{stand.path}" line 3: device.a.tipe: unknown key; meant "type"?'
    assert [[], [Refused(stand.path, (problem,))], [], []] == news
    assert {"a": DeviceEntry(type="x")} == stand.registry.entries()


def test_a_mended_file_is_taken_after_a_bad_one(stand: Stand) -> None:
    stand.write("x")
    stand.step()
    stand.step()
    stand.write(TWO)
    stand.step()
    stand.step()

    assert 2 == len(stand.registry)


def test_a_file_that_is_gone_is_refused_once_and_read_when_it_is_back(stand: Stand) -> None:
    stand.path.unlink()
    stand.step()
    (refused,) = stand.step()
    stand.write(TWO)
    stand.step()
    (loaded,) = stand.step()

    assert isinstance(refused, Refused)
    assert refused.problems[0].endswith(
        "could not be read: No such file or directory; write the path of a file that is there"
    )
    assert isinstance(loaded, Loaded)


def test_a_start_without_a_sound_file_is_refused(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.write("[device]")

    with pytest.raises(ConfigError, match="there is no device"):
        stand.reader.open()


def test_a_step_that_waits_ends_when_it_is_stopped(tmp_path: Path) -> None:
    reader = RegistryFileReader(tmp_path / "x", Registry(), poll_s=3_600.0)

    reader.stop()

    assert [] == reader.step()
