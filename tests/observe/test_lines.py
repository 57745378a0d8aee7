import io
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import IO

import pytest

from bridge.observe.lines import DescriptorLines, open_lines

LINE = b"x" * 99 + b"\n"


class Pipe:
    """A pipe whose reader is the test."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self.is_reading = True

    def fill(self) -> int:
        os.set_blocking(self.write_end, False)
        filled = 0
        try:
            while True:
                filled += os.write(self.write_end, b"f" * 4_096)
        except BlockingIOError:
            os.set_blocking(self.write_end, True)
            return filled

    def read(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            received += os.read(self.read_end, length - len(received))
        return received

    def stop_reading(self) -> None:
        os.close(self.read_end)
        self.is_reading = False


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.write_end)
    if pipe.is_reading:
        pipe.stop_reading()


def test_a_line_reaches_its_reader(pipe: Pipe) -> None:
    lines = DescriptorLines(pipe.write_end)

    lines.write(LINE)

    assert pipe.read(len(LINE)) == LINE
    lines.close()


def test_a_full_pipe_that_nobody_reads_does_not_hold_the_writer(pipe: Pipe) -> None:
    pipe.fill()
    lines = DescriptorLines(pipe.write_end, backlog_bytes_max=1_000)

    for _ in range(15):
        lines.write(LINE)

    assert lines.lines_lost == 5
    assert not lines.flush()
    lines.close()
    assert lines.lines_lost == 15


def test_what_waited_for_a_slow_reader_comes_whole_and_in_order(pipe: Pipe) -> None:
    filled = pipe.fill()
    lines = DescriptorLines(pipe.write_end)
    expected = [b"%03d " % n + b"y" * 12_000 + b"\n" for n in range(10)]
    for line in expected:
        lines.write(line)

    pipe.read(filled)
    received = b""
    while not lines.flush():
        received += os.read(pipe.read_end, 65_536)
    lines.close()
    received += pipe.read(sum(map(len, expected)) - len(received))

    assert received == b"".join(expected)
    assert lines.lines_lost == 0


def test_a_flush_with_a_timeout_gives_up_on_a_reader_that_never_reads(pipe: Pipe) -> None:
    pipe.fill()
    lines = DescriptorLines(pipe.write_end)
    lines.write(LINE)

    assert not lines.flush(timeout_s=0.01)
    lines.close()


def test_lines_are_counted_as_lost_when_the_reader_is_gone(pipe: Pipe) -> None:
    lines = DescriptorLines(pipe.write_end)
    pipe.stop_reading()

    lines.write(LINE)
    lines.write(LINE)

    assert lines.lines_lost == 2
    lines.close()


def test_the_lines_outlive_the_descriptor_they_came_from(pipe: Pipe) -> None:
    own = os.dup(pipe.write_end)
    lines = DescriptorLines(own)
    os.close(own)

    lines.write(LINE)

    assert pipe.read(len(LINE)) == LINE
    lines.close()


def test_a_full_disk_keeps_the_lines_until_there_is_room() -> None:
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device
        lines = DescriptorLines(full.fileno(), backlog_bytes_max=250)

        for _ in range(3):
            lines.write(LINE)

        assert lines.lines_lost == 1
        lines.close()


@pytest.mark.parametrize("stream", [None, io.StringIO()], ids=["closed at start", "closed later"])
def test_a_closed_standard_output_loses_lines_and_nothing_else(stream: IO[str] | None) -> None:
    if stream is not None:
        stream.close()
    lines = open_lines(stream)

    lines.write(LINE)

    assert lines.lines_lost == 1
    assert lines.flush()
    lines.close()


def test_a_descriptor_that_was_closed_at_start_is_never_given_to_the_log() -> None:
    program = (
        "import os, sys\n"
        "from bridge.observe.lines import open_lines\n"
        "lines = open_lines(sys.stdout)\n"
        "reader, writer = os.pipe()\n"
        "lines.write(b'not for the pipe')\n"
        "os.set_blocking(reader, False)\n"
        "try:\n"
        "    os.read(reader, 1)\n"
        "except BlockingIOError:\n"
        "    sys.exit(lines.lines_lost)\n"
    )

    finished = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, program], check=False
    )

    assert finished.returncode == 1
