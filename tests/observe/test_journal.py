"""The native protocol of the journal, read by a parser of the test's own."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec
import pytest
from hypothesis import given, strategies as st

from bridge.config.sections import LogSection
from bridge.errors import ConfigError
from bridge.observe.catalogue.entry import Level
from bridge.observe.events import CATALOGUE
from bridge.observe.journal import JournalLines, encode, entry_of, is_journal
from bridge.observe.log import LINE_BYTES_MAX, EventLog, configure, render_journal
from tests.support.datagrams import DatagramSocket

Fields: TypeAlias = dict[str, list[str]]

HOSTILE = {
    "LF": "a\nb",
    "a field of its own": "a\nBRIDGE_DEVICE_ID=other\nPRIORITY=0",
    "NUL": "a\0b",
    "ESC": "a\x1b[2Jb",
    "lone surrogate": "a\udc1bb",
    "U+2028": "a\u2028b",
    "equals sign": "a=b",
    "1 MB": "x\n" * 524_288,
}
JOURNAL = msgspec.convert({"format": "journal"}, LogSection)


def parse(datagram: bytes) -> Fields:
    """Read an entry as journald does."""
    fields: Fields = {}
    while datagram:
        head, _, rest = datagram.partition(b"\n")
        name, is_short, value = head.partition(b"=")
        if is_short:
            datagram = rest
        else:
            length = int.from_bytes(rest[:8], "little")
            value, datagram = rest[8 : 8 + length], rest[8 + length + 1 :]
            assert rest[8 + length : 8 + length + 1] == b"\n"
        fields.setdefault(name.decode(), []).append(value.decode())
    return fields


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[DatagramSocket]:
    with DatagramSocket(tmp_path / "journal") as made:
        yield made


def log_to(journal: DatagramSocket) -> EventLog:
    return EventLog(
        level=Level.DEBUG,
        lines=JournalLines(Path(journal.address)),
        renderer=render_journal,
        unix_now=lambda: 1_760_000_000.25,
    )


def test_an_event_is_one_entry_whose_fields_can_be_asked_for(journal: DatagramSocket) -> None:
    log = log_to(journal)

    log.emit("message_dead_lettered", reason="empty", device_id="dev-7", copy=True, detail="no b")

    assert {
        "MESSAGE": ['message_dead_lettered reason=empty device_id=dev-7 copy=true detail="no b"'],
        "PRIORITY": ["4"],
        "SYSLOG_IDENTIFIER": ["mqtt-kafka-bridge"],
        "BRIDGE_TIMESTAMP": ["2025-10-09T08:53:20.250000Z"],
        "BRIDGE_EVENT": ["message_dead_lettered"],
        "BRIDGE_REASON": ["empty"],
        "BRIDGE_DEVICE_ID": ["dev-7"],
        "BRIDGE_COPY": ["true"],
        "BRIDGE_DETAIL": ["no b"],
    } == parse(journal.receive())
    log.close()


def test_each_item_of_a_list_is_a_field_of_its_own(journal: DatagramSocket) -> None:
    log = log_to(journal)

    log.emit("bridge_not_ready", parts=["mqtt", "kafka"])

    assert ["mqtt", "kafka"] == parse(journal.receive())["BRIDGE_PARTS"]
    log.close()


@pytest.mark.parametrize(
    ("level", "priority"),
    [(Level.DEBUG, "7"), (Level.INFO, "6"), (Level.WARNING, "4"), (Level.ERROR, "3")],
)
def test_the_level_is_the_priority_that_journalctl_knows(level: Level, priority: str) -> None:
    assert ("PRIORITY", priority) in entry_of({"level": level}, "x")


def test_the_journal_takes_the_name_of_every_field_of_the_catalogue() -> None:
    names = {
        name
        for event in CATALOGUE.values()
        for name, _ in entry_of({"level": "info", **dict.fromkeys(event.allowed, 1)}, "x")
    }

    assert [name for name in names if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", name)] == []


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("field", ["device_id", "detail"])
def test_hostile_text_is_one_escaped_field_and_makes_no_other(
    journal: DatagramSocket, hostile: str, field: str
) -> None:
    log = log_to(journal)

    log.emit("message_dead_lettered", **{field: hostile})
    datagram = journal.receive()
    log.close()

    fields = parse(datagram)
    assert {
        "MESSAGE",
        "PRIORITY",
        "SYSLOG_IDENTIFIER",
        "BRIDGE_TIMESTAMP",
        "BRIDGE_EVENT",
        f"BRIDGE_{field.upper()}",
    } == set(fields)
    assert {1} == {len(values) for values in fields.values()}
    assert all(value.isprintable() for values in fields.values() for value in values)
    assert len(datagram) < LINE_BYTES_MAX
    assert ["4"] == fields["PRIORITY"]


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"\A[A-Z][A-Z0-9_]{0,63}\Z"),
            st.text(st.characters(exclude_categories=["Cs"])),
        )
    )
)
def test_whatever_an_entry_holds_is_read_as_it_was_written(entry: list[tuple[str, str]]) -> None:
    expected: Fields = {}
    for name, value in entry:
        expected.setdefault(name, []).append(value)

    assert expected == parse(encode(entry))


def test_an_entry_that_would_be_too_long_is_cut_and_says_so(journal: DatagramSocket) -> None:
    log = log_to(journal)
    long = "\U0001f600" * 1_000

    log.emit("message_dead_lettered", **dict.fromkeys(("detail", "device_id", "dlq_id"), long))
    datagram = journal.receive()
    log.close()

    assert len(datagram) < LINE_BYTES_MAX
    assert ["true"] == parse(datagram)["BRIDGE_LINE_CUT"]


# --- The socket


def test_an_entry_larger_than_a_datagram_goes_as_a_sealed_file(journal: DatagramSocket) -> None:
    lines = JournalLines(Path(journal.address))
    entry = encode([("MESSAGE", "x" * 8_000_000)])

    lines.write(entry)
    content, (file,) = journal.receive_with_files()

    assert b"" == content
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb") as opened:  # noqa: PTH123  a descriptor
        assert entry == opened.read()
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(file, 0)
    assert 0 == lines.lines_lost
    lines.close()


def test_a_journal_that_does_not_read_holds_nobody_and_gets_all_in_order_later(
    journal: DatagramSocket,
) -> None:
    lines = JournalLines(Path(journal.address))
    entries = [encode([("MESSAGE", f"{number}")]) for number in range(2_000)]

    for entry in entries:
        lines.write(entry)
    is_all_taken = lines.flush()
    received = journal.receive_waiting()
    while not lines.flush():
        received += journal.receive_waiting()
    received += journal.receive_waiting()

    assert not is_all_taken
    assert entries == received
    assert 0 == lines.lines_lost
    lines.close()


def test_what_does_not_fit_the_backlog_is_counted_as_lost(journal: DatagramSocket) -> None:
    lines = JournalLines(Path(journal.address), backlog_bytes_max=1_000)
    entry = encode([("MESSAGE", "x" * 90)])

    for _ in range(2_000):
        lines.write(entry)
    taken = len(journal.receive_waiting())
    waiting = 1_000 // len(entry)

    assert 2_000 - taken - waiting == lines.lines_lost
    lines.close()
    assert 2_000 - taken == lines.lines_lost


def test_a_journal_that_starts_anew_gets_what_was_said_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    lines = JournalLines(path)
    lines.write(encode([("MESSAGE", "before")]))

    with DatagramSocket(path) as journal:
        assert lines.flush()
        assert {"MESSAGE": ["before"]} == parse(journal.receive())
    lines.write(encode([("MESSAGE", "between")]))
    path.unlink()
    with DatagramSocket(path) as journal:
        assert lines.flush()
        assert {"MESSAGE": ["between"]} == parse(journal.receive())
    assert 0 == lines.lines_lost
    lines.close()


def test_the_end_waits_a_moment_for_a_slow_journal(journal: DatagramSocket) -> None:
    lines = JournalLines(Path(journal.address))
    while lines.flush():
        lines.write(encode([("MESSAGE", "x")]))
    journal.receive_waiting()

    assert lines.flush(timeout_s=30.0)
    lines.close()
    lines.write(b"MESSAGE=late\n")
    assert 1 == lines.lines_lost


# --- Which form


def test_a_stream_of_the_journal_is_known_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "other").open("w") as other:
        facts = os.fstat(stream.fileno())
        environment = {"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"}

        assert is_journal(stream, environment)
        assert not is_journal(other, environment)
        assert not is_journal(None, environment)
        assert not is_journal(stream, {})
        for wrong in ("", ":", "1", f"{facts.st_dev}:", f":{facts.st_ino}", "²:³"):
            assert not is_journal(stream, {"JOURNAL_STREAM": wrong})


def test_auto_means_the_journal_where_standard_output_is_the_journals(
    journal: DatagramSocket, tmp_path: Path
) -> None:
    with (tmp_path / "stream").open("w") as stream:
        facts = os.fstat(stream.fileno())
        log = configure(
            LogSection(),
            stream,
            environment={"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"},
            journal_socket=Path(journal.address),
        )

        log.emit("bridge_ready", after_s=1.5)
        log.close()

    assert ["bridge_ready"] == parse(journal.receive())["BRIDGE_EVENT"]
    assert "" == (tmp_path / "stream").read_text()


def test_auto_means_json_where_the_journal_cannot_be_reached(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        facts = os.fstat(stream.fileno())
        log = configure(
            LogSection(),
            stream,
            environment={"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"},
            journal_socket=tmp_path / "nowhere",
        )

        log.emit("bridge_ready")
        log.close()

    assert (tmp_path / "stream").read_text().startswith("{")


def test_the_journal_can_be_asked_for_whatever_standard_output_is(journal: DatagramSocket) -> None:
    log = configure(JOURNAL, None, environment={}, journal_socket=Path(journal.address))

    log.emit("bridge_ready")
    log.close()

    assert ["bridge_ready"] == parse(journal.receive())["BRIDGE_EVENT"]


def test_a_journal_that_is_asked_for_and_not_there_is_refused(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"

    with pytest.raises(ConfigError) as refused:
        configure(JOURNAL, None, environment={}, journal_socket=nowhere)

    expected = (
        f'log.format: "journal" needs the socket "{nowhere}", which is not there;'
        ' start systemd-journald, or write format = "auto"'
    )
    assert (expected,) == refused.value.problems
