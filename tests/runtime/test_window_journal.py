"""The journal as the event loop sees it: it waits for nothing, and its failures stop nothing."""

import io
import json
from pathlib import Path
from typing import Any

from bridge.observe.catalogue.entry import Level
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.runtime.kafka_tail import Chunk, Tail, Window
from bridge.runtime.window_files import JournalContent
from bridge.runtime.window_journal import BUFFER_BYTES_MAX, WindowJournal

PLACE = ("telemetry", 0)
WINDOW = Window(ttl_s=3_600, keys_max=1_000_000, keys_min=40_000)
NOW_S = 1_700_000_000.0


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def names_in(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir()]


class Stand:
    """One process; a second stand on the same directory is the next start."""

    def __init__(self, directory: Path, *, window: Window = WINDOW) -> None:
        self._stream = io.StringIO()
        log = EventLog(level=Level.DEBUG, lines=StreamLines(self._stream), renderer=render_json)
        self.journal = WindowJournal(
            directory, window=window, client_id="b1", log=log, unix_s=lambda: NOW_S
        )

    async def begin(self, end: int = 0) -> JournalContent:
        content = await self.journal.read()
        self.journal.begin(Tail(chunks=[], ends={PLACE: end}), is_whole=content.ends is None)
        return content

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [each for each in lines if each["event"] == name]


async def load(directory: Path, *, window: Window = WINDOW) -> JournalContent:
    stand = Stand(directory, window=window)
    content = await stand.journal.read()
    await stand.journal.close()
    return content


async def test_what_was_noted_before_a_checkpoint_is_there_at_the_next_start(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    await stand.begin()

    stand.journal.note([key(1), b"", key(2)])
    stand.journal.flush()
    stand.journal.note([key(3)])
    stand.journal.checkpoint({PLACE: 3})
    stand.journal.note([key(4)])
    await stand.journal.close()

    content = await load(tmp_path)
    assert {PLACE: 3} == content.ends
    assert key(1) + key(2) + key(3) + key(4) == b"".join(each.keys for each in content.chunks)
    assert {int(NOW_S * 1_000)} == {each.unix_ms for each in content.chunks}


async def test_what_the_start_found_in_kafka_is_kept_with_its_own_time(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    await stand.journal.read()
    old = Chunk(1_000, key(1) + key(2))
    stand.journal.begin(Tail(chunks=[old], ends={PLACE: 2}), is_whole=True)
    stand.journal.note([key(3)])
    await stand.journal.close()

    content = await load(tmp_path)

    assert [old, Chunk(int(NOW_S * 1_000), key(3))] == content.chunks
    assert {PLACE: 2} == content.ends


async def test_the_log_tells_what_was_read(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    await stand.begin(end=7)
    stand.journal.note([key(1)])
    await stand.journal.close()

    later = Stand(tmp_path)
    await later.begin()
    await later.journal.close()

    (told,) = later.events("window_journal_read")
    assert (1, True, False) == (told["keys"], told["has_checkpoint"], told["is_cut"])


async def test_keys_that_the_disk_does_not_take_in_time_end_the_claim_to_be_complete(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    await stand.begin(end=1)

    stand.journal.note([bytes(BUFFER_BYTES_MAX + 16)])
    stand.journal.note([key(1)])
    stand.journal.checkpoint({PLACE: 9})
    await stand.journal.close()

    assert not stand.journal.is_kept
    (told,) = stand.events("window_journal_failed")
    assert "the disk did not take the keys in time" == told["error"]
    content = await load(tmp_path)
    assert (0, {PLACE: 1}) == (content.count_keys(), content.ends)


async def test_a_directory_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    stand = Stand(tmp_path / "state")
    await stand.begin()

    for number in range(3):
        stand.journal.note([key(number)])
        stand.journal.checkpoint({PLACE: number})
    await stand.journal.close()
    stand.journal.flush()

    (told,) = stand.events("window_journal_failed")
    assert "File exists" == told["error"]


async def test_without_the_right_to_read_keys_are_kept_and_no_checkpoint_is(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    await stand.journal.read()
    stand.journal.begin(None, is_whole=False)

    stand.journal.note([key(1)])
    stand.journal.checkpoint({PLACE: 1})
    await stand.journal.close()

    content = await load(tmp_path)
    assert (1, None) == (content.count_keys(), content.ends)


async def test_a_window_that_is_off_has_no_journal(tmp_path: Path) -> None:
    off = Window(ttl_s=3_600, keys_max=0, keys_min=40_000)
    stand = Stand(tmp_path, window=off)
    await stand.begin()

    stand.journal.note([key(1)])
    stand.journal.checkpoint({PLACE: 1})
    await stand.journal.close()

    assert [] == names_in(tmp_path)
    assert [] == stand.events("window_journal_failed")
