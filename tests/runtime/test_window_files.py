"""The window journal on disk: whatever happens to it, a prefix is believed and nothing more."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from bridge.kafka.partitions import Place
from bridge.runtime.kafka_tail import Chunk, Tail, Window
from bridge.runtime.window_files import JournalContent, WindowFiles
from bridge.runtime.window_segments import list_paths

PLACE = ("telemetry", 0)
WINDOW = Window(ttl_s=3_600, keys_max=1_000_000, keys_min=0)
SMALL_SEGMENT = 200
"""Bytes; an opening takes half of it, so every few blocks a new segment begins."""


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def keys(*numbers: int) -> bytes:
    return b"".join(map(key, numbers))


def files(
    directory: Path,
    *,
    window: Window = WINDOW,
    client_id: str = "b1",
    segment_bytes_max: int = SMALL_SEGMENT,
) -> WindowFiles:
    return WindowFiles(
        directory, window=window, client_id=client_id, segment_bytes_max=segment_bytes_max
    )


def found(*numbers: int, ends: dict[Place, int] | None = None) -> Tail:
    chunks = [Chunk(1_000, keys(*numbers))] if numbers else []
    return Tail(chunks=chunks, ends=ends if ends is not None else {PLACE: 0})


def begun(directory: Path, *, window: Window = WINDOW) -> WindowFiles:
    """Start on what is there, and find nothing new in Kafka."""
    journal = files(directory, window=window)
    is_anew = journal.load().ends is None
    journal.begin(found(), is_anew=is_anew)
    return journal


def load(directory: Path, **options: Window | str) -> JournalContent:
    return files(directory, **options).load()  # type: ignore[arg-type]  # of the table


def joined(content: JournalContent) -> bytes:
    return b"".join(each.keys for each in content.chunks)


def test_a_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert JournalContent() == load(tmp_path / "none")


def test_keys_are_loaded_in_their_order_with_their_times_and_the_last_checkpoint(
    tmp_path: Path,
) -> None:
    journal = begun(tmp_path)
    other = ("telemetry", 1)
    journal.append(keys(1, 2), 5_000, {PLACE: 3, other: 7})
    journal.append(keys(3), 6_000, {PLACE: 4, other: 7})
    journal.append(keys(4), 7_000, None)
    journal.close()

    content = load(tmp_path)

    expected = [Chunk(5_000, keys(1, 2)), Chunk(6_000, keys(3)), Chunk(7_000, keys(4))]
    assert expected == content.chunks
    assert {PLACE: 4, other: 7} == content.ends
    assert not content.is_cut


def test_the_next_process_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    for number in range(20):
        journal = files(tmp_path)
        content = journal.load()
        assert keys(*range(number)) == joined(content)
        journal.begin(found(number, ends={PLACE: number}), is_anew=content.ends is None)
        journal.close()

    assert {PLACE: 19} == load(tmp_path).ends


def test_a_whole_window_found_in_kafka_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    for number in range(30):
        journal.append(keys(number), 1_000, {PLACE: number})
    journal.close()

    journal = files(tmp_path)
    journal.load()
    journal.begin(found(77, 78, ends={PLACE: 2}), is_anew=True)
    journal.close()

    content = load(tmp_path)
    assert keys(77, 78) == joined(content)
    assert {PLACE: 2} == content.ends
    assert 1 == len(list_paths(tmp_path))


def test_where_kafka_may_not_be_read_the_older_checkpoint_stays_the_last(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.append(keys(1), 1_000, {PLACE: 5})
    journal.close()

    journal = files(tmp_path)
    journal.load()
    journal.begin(None, is_anew=False)
    journal.append(keys(2), 2_000, None)
    journal.close()

    content = load(tmp_path)
    assert keys(1, 2) == joined(content)
    assert {PLACE: 5} == content.ends


def test_segments_go_when_the_younger_ones_fill_the_window(tmp_path: Path) -> None:
    window = Window(ttl_s=1e6, keys_max=50, keys_min=0)
    journal = begun(tmp_path, window=window)

    for number in range(500):
        journal.append(keys(number), 1_000, {PLACE: number})
    journal.close()

    content = load(tmp_path, window=window)
    assert {PLACE: 499} == content.ends
    assert 50 <= content.count_keys() < 70
    assert joined(content).endswith(keys(*range(450, 500)))


def test_segments_go_when_they_are_too_old_but_never_the_last_so_many_keys(
    tmp_path: Path,
) -> None:
    window = Window(ttl_s=10, keys_max=1_000, keys_min=20)
    journal = begun(tmp_path, window=window)

    for number in range(100):
        journal.append(keys(number), 1_000 * number, None)
    recent = joined(load(tmp_path, window=window))
    for number in range(100, 105):
        journal.append(keys(number), 10**9, None)
    journal.close()

    assert recent.endswith(keys(*range(80, 100)))
    assert len(recent) < 16 * 40
    assert load(tmp_path, window=window).count_keys() >= 20


def test_what_was_kept_for_a_smaller_window_counts_for_nothing(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.append(keys(1), 1_000, {PLACE: 5})
    journal.close()
    deeper = Window(ttl_s=7_200, keys_max=1_000_000, keys_min=0)

    content = load(tmp_path, window=deeper)

    assert ([], None) == (content.chunks, content.ends)
    assert ["was kept for a smaller [dedup] window"] == [each.error for each in content.ignored]


def test_what_was_kept_for_a_larger_window_serves_a_smaller_one(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.append(keys(1), 1_000, {PLACE: 5})
    journal.close()
    smaller = Window(ttl_s=60, keys_max=1_000, keys_min=0)

    journal = files(tmp_path, window=smaller)
    assert {PLACE: 5} == journal.load().ends
    journal.begin(found(2, ends={PLACE: 6}), is_anew=False)
    journal.close()

    content = load(tmp_path, window=smaller)
    assert keys(1, 2) == joined(content)
    assert {PLACE: 6} == content.ends


def test_the_files_of_another_client_are_told_and_left_alone(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.append(keys(1), 1_000, {PLACE: 5})
    journal.close()
    theirs = {path: path.read_bytes() for path in list_paths(tmp_path)}

    journal = files(tmp_path, client_id="b2")
    content = journal.load()
    journal.begin(found(9, ends={PLACE: 1}), is_anew=True)
    journal.close()

    assert ([], None) == (content.chunks, content.ends)
    assert ['belongs to client id "b1"'] == [each.error for each in content.ignored]
    assert theirs == {path: path.read_bytes() for path in theirs}
    assert keys(9) == joined(load(tmp_path, client_id="b2"))
    assert {PLACE: 5} == load(tmp_path).ends


def test_the_files_of_another_format_are_told_and_left_alone(tmp_path: Path) -> None:
    begun(tmp_path).close()
    (path,) = list_paths(tmp_path)
    theirs = path.read_bytes().replace(b"bwj\x01", b"bwj\x02")
    path.write_bytes(theirs)

    journal = files(tmp_path)
    content = journal.load()
    journal.begin(found(9), is_anew=True)
    journal.close()

    assert ["has format 2, this version knows 1"] == [each.error for each in content.ignored]
    assert theirs == path.read_bytes()
    assert keys(9) == joined(load(tmp_path))


def test_a_second_process_does_not_write_into_the_same_directory(tmp_path: Path) -> None:
    first = begun(tmp_path)
    second = files(tmp_path)
    second.load()

    with pytest.raises(BlockingIOError, match="another process writes it"):
        second.begin(found(), is_anew=False)

    first.append(keys(1), 1_000, {PLACE: 1})
    first.close()
    second.close()
    assert {PLACE: 1} == load(tmp_path).ends


def test_a_lost_end_of_one_segment_ends_the_belief_in_those_after_it(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    for number in range(1, 30):
        journal.append(keys(number), 1_000, {PLACE: number})
    journal.close()
    first = list_paths(tmp_path)[0]
    first.write_bytes(first.read_bytes()[:-30])

    content = load(tmp_path)

    count = content.count_keys()
    assert keys(*range(1, count + 1)) == joined(content)
    assert content.is_cut
    assert content.ends is not None
    assert content.ends[PLACE] <= count < 10


def write(directory: Path, steps: Sequence[int]) -> None:
    """Write one key a step; every so many steps a checkpoint at its number, or a new process."""
    journal = begun(directory)
    for number, step in enumerate(steps, start=1):
        journal.append(keys(number), number, {PLACE: number} if step % 2 else None)
        if step == 0:
            journal.close()
            journal = files(directory)
            journal.load()
            journal.begin(None, is_anew=False)
    journal.close()


@given(
    steps=st.lists(st.integers(0, 7), min_size=1, max_size=40),
    at=st.floats(0, 1, exclude_max=True),
    where=st.floats(0, 1, exclude_max=True),
    flip=st.integers(0, 255),
)
@settings(deadline=None)
def test_whatever_is_damaged_a_prefix_is_loaded_and_no_checkpoint_without_its_keys(
    steps: list[int], at: float, where: float, flip: int
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        write(directory, steps)
        paths = list_paths(directory)
        victim = paths[int(where * len(paths))]
        raw = bytearray(victim.read_bytes())
        position = int(at * len(raw))
        if flip:
            raw[position] ^= flip
        else:
            del raw[position:]
        victim.write_bytes(raw)

        journal = files(directory)
        content = journal.load()
        loaded = content.count_keys()
        end = 0 if content.ends is None else content.ends[PLACE]
        assert keys(*range(1, loaded + 1)) == joined(content)
        assert end <= loaded

        # And what is written behind the damage is read back whole.
        journal.begin(found(1_000, ends={PLACE: 500}), is_anew=content.ends is None)
        journal.append(keys(1_001), 1_000, {PLACE: 501})
        journal.close()
        again = load(directory)
        kept = [] if content.ends is None else [*range(1, loaded + 1)]
        assert keys(*kept, 1_000, 1_001) == joined(again)
        assert {PLACE: 501} == again.ends
        assert not again.is_cut or victim in list_paths(directory)
