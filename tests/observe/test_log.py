import enum
import io
import logging
import os
import threading
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, strategies as st

from bridge.config.sections import LogSection
from bridge.observe.catalogue.entry import Level
from bridge.observe.lines import Lines, StreamLines
from bridge.observe.log import (
    LINE_BYTES_MAX,
    EventLog,
    LibraryLog,
    Renderer,
    configure,
    render_console,
    render_console_coloured,
    render_json,
)

HOSTILE = {
    "ESC": "a\x1b[2Jb",
    "CR": "a\rb",
    "LF": "a\nb",
    "U+2028": "a\u2028b",
    "U+202E": "a\u202eb",
    "U+2066": "a\u2066b",
    "lone surrogate": "a\udc1bb",
    "NUL": "a\0b",
    "long": "a\n" * 100_000,
}
FORBIDDEN = ("\x1b", "\r", "\0", "\u2028", "\u2029", "\u202e", "\u2066", "\x85", "\x9b")
RENDERERS = [
    pytest.param(render_json, id="json"),
    pytest.param(render_console, id="console"),
]


class Stand:
    """A log into memory, with clocks that the test turns."""

    def __init__(self, *, level: Level = Level.DEBUG, renderer: Renderer = render_json) -> None:
        self.stream = io.StringIO()
        self.monotonic_s = 0.0
        lines: Lines = StreamLines(self.stream)
        self.log = EventLog(
            level=level,
            lines=lines,
            renderer=renderer,
            unix_now=lambda: 1_760_000_000.25,
            monotonic_now=lambda: self.monotonic_s,
        )

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def events(self) -> list[dict[str, object]]:
        return [msgspec.json.decode(line) for line in self.text.splitlines()]


def test_an_event_is_one_json_line_with_its_time_in_utc() -> None:
    stand = Stand()

    stand.log.emit("mqtt_subscribed", filters=["devices/+/telemetry"], qos=1)

    assert stand.text == (
        '{"timestamp":"2025-10-09T08:53:20.250000Z","level":"info","event":"mqtt_subscribed",'
        '"filters":["devices/+/telemetry"],"qos":1}\n'
    )


def test_the_console_line_quotes_only_what_needs_it() -> None:
    stand = Stand(renderer=render_console)

    stand.log.emit("mqtt_connect_failed", address="[::1]:1883", reason="no route", attempt=2)

    assert stand.text == (
        "2025-10-09T08:53:20.250000Z warning mqtt_connect_failed"
        ' address=[::1]:1883 reason="no route" attempt=2\n'
    )


def test_colour_surrounds_the_level_and_nothing_else() -> None:
    stand = Stand(renderer=render_console_coloured)

    stand.log.emit("bridge_ready", after_s=1.5)

    assert stand.text == (
        "2025-10-09T08:53:20.250000Z \x1b[32minfo   \x1b[0m bridge_ready after_s=1.5\n"
    )


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("field", ["device_id", "mqtt_topic", "detail", "reason"])
def test_hostile_text_in_any_field_is_one_escaped_line(
    renderer: Renderer, hostile: str, field: str
) -> None:
    stand = Stand(renderer=renderer)

    stand.log.emit("message_dead_lettered", **{field: hostile})

    assert stand.text.count("\n") == 1
    assert stand.text.endswith("\n")
    assert not [c for c in FORBIDDEN if c in stand.text]
    assert len(stand.text) < 1_500


def test_the_escape_is_still_there_once_the_json_is_decoded() -> None:
    stand = Stand()

    stand.log.emit("message_dead_lettered", detail="\x1b]0;owned\x07")

    assert stand.events[0]["detail"] == r"\x1b]0;owned\x07"


class Colour(enum.Enum):
    RED = 1


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, None, id="none"),
        pytest.param(True, True, id="boolean"),
        pytest.param(float("nan"), None, id="not a number"),
        pytest.param(2**64, "0x10000000000000000", id="integer beyond 64 bits"),
        pytest.param(10**5_000, hex(10**5_000)[:984] + "… (cut, 4155 characters)", id="huge"),
        pytest.param(b"ok\xff\n", r"ok\xff\n", id="bytes"),
        pytest.param(Level.INFO, "info", id="string enum"),
        pytest.param(Colour.RED, "Colour.RED", id="other enum"),
        pytest.param(OSError(2, "a\nb"), r"[Errno 2] a\nb", id="exception"),
        pytest.param(["a\x1b", 1], [r"a\x1b", 1], id="list"),
        pytest.param(("x",) * 40, ["x"] * 32 + ["… (40 items)"], id="long tuple"),
        pytest.param({"a": "\n"}, r"{'a': '\n'}", id="mapping"),
        pytest.param(Unprintable(), "<Unprintable>", id="raises in str"),
    ],
)
def test_any_value_is_written(value: object, expected: object) -> None:
    stand = Stand()

    stand.log.emit("message_dead_lettered", detail=value)

    assert stand.events[0]["detail"] == expected


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_line_that_would_be_too_long_is_cut_and_says_so(renderer: Renderer) -> None:
    stand = Stand(renderer=renderer)
    long = "\U0001f600" * 1_000

    stand.log.emit(
        "message_dead_lettered", **dict.fromkeys(("detail", "device_id", "dlq_id"), long)
    )
    stand.log.emit("message_dead_lettered", detail=long, device_id=[long] * 32, dlq_id=[long] * 32)
    stand.log.emit(
        "message_dead_lettered", **dict.fromkeys(("detail", "device_id", "dlq_id"), [long] * 32)
    )

    assert [len(line.encode()) < LINE_BYTES_MAX for line in stand.text.splitlines()] == [True] * 3
    assert ["line_cut" in line for line in stand.text.splitlines()] == [False, True, True]


@given(
    st.dictionaries(
        st.sampled_from(["detail", "device_id", "mqtt_topic"]),
        st.one_of(st.text(), st.binary(), st.integers(), st.floats(), st.lists(st.text())),
    )
)
def test_whatever_the_fields_hold_the_event_is_one_json_line(fields: dict[str, object]) -> None:
    stand = Stand()

    stand.log.emit("message_dead_lettered", **fields)

    assert len(stand.events) == 1
    assert stand.events[0].keys() == {"timestamp", "level", "event", *fields}


def test_a_level_below_the_configured_one_is_not_written() -> None:
    stand = Stand(level=Level.ERROR)

    stand.log.emit("bridge_not_ready", parts=["kafka"])
    stand.log.emit("kafka_unreachable")

    assert [event["event"] for event in stand.events] == ["kafka_unreachable"]


def test_an_event_outside_the_catalogue_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="'bridge_sneezed' is not in the catalogue"):
        Stand().log.emit("bridge_sneezed")


def test_a_field_outside_the_catalogue_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="'bridge_ready' has no field colour"):
        Stand().log.emit("bridge_ready", colour="red")


def test_repeated_events_are_suppressed_by_reason_and_the_next_one_says_how_many() -> None:
    stand = Stand()
    for _ in range(14):
        stand.log.emit("message_dead_lettered", reason="empty")
    stand.log.emit("message_dead_lettered", reason="too_large")

    stand.monotonic_s = 11.0
    stand.log.emit("message_dead_lettered", reason="empty")

    assert len(stand.events) == 12
    assert "suppressed" not in stand.events[-2]
    assert stand.events[-1]["suppressed"] == 4
    assert stand.log.lines_suppressed == 4


def test_a_suppressed_count_is_written_even_when_no_event_follows() -> None:
    stand = Stand()
    for _ in range(13):
        stand.log.emit("message_dead_lettered", reason="empty")

    stand.monotonic_s = 10.0
    stand.log.tick()

    assert stand.events[-1] == {
        "timestamp": "2025-10-09T08:53:20.250000Z",
        "level": "info",
        "event": "events_suppressed",
        "of": "message_dead_lettered",
        "by": "empty",
        "suppressed": 3,
        "window_s": 10.0,
    }


def test_closing_writes_the_suppressed_counts() -> None:
    stand = Stand()
    for _ in range(11):
        stand.log.emit("kafka_record_refused", error="INVALID_RECORD")

    stand.log.close()

    assert stand.events[-1]["suppressed"] == 1


class Unwilling(StreamLines):
    """Lines that are lost while nobody reads."""

    is_read = False

    def write(self, line: bytes) -> None:
        if self.is_read:
            super().write(line)
        else:
            self.lines_lost += 1

    def flush(self, *, timeout_s: float = 0.0) -> bool:
        return self.is_read and super().flush(timeout_s=timeout_s)


def test_lost_lines_are_reported_once_the_reader_is_back() -> None:
    stream = io.StringIO()
    lines = Unwilling(stream)
    log = EventLog(level=Level.INFO, lines=lines, renderer=render_json)
    log.emit("bridge_ready")
    log.tick()

    lines.is_read = True
    log.tick()
    log.tick()

    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith('"event":"log_lines_lost","lost":1}\n')
    assert log.lines_lost == 1


@pytest.fixture
def library() -> Iterator[tuple[logging.Logger, Stand]]:
    stand = Stand()
    logger = logging.getLogger("tests.library")
    logger.propagate = False
    logger.addHandler(LibraryLog(stand.log))
    yield logger, stand
    logger.handlers.clear()


def test_what_a_library_logs_becomes_an_event(library: tuple[logging.Logger, Stand]) -> None:
    logger, stand = library

    try:
        int("a\nb")
    except ValueError:
        logger.exception("task failed\nfuture: %s", "x")

    assert len(stand.events) == 1
    assert stand.events[0]["event"] == "library_reported"
    assert stand.events[0]["text"] == r"task failed\nfuture: x"
    assert "ValueError" in str(stand.events[0]["error"])
    assert "test_log.py" in str(stand.events[0]["where"])


@pytest.mark.parametrize(
    ("wanted", "expected_start"),
    [("auto", "{"), ("json", "{"), ("console", "20")],
)
def test_without_a_terminal_auto_means_json(wanted: str, expected_start: str) -> None:
    stream = io.StringIO()

    configure(msgspec.convert({"format": wanted}, LogSection), stream).emit("bridge_ready")

    assert stream.getvalue().startswith(expected_start)


def test_on_a_terminal_auto_means_console() -> None:
    ours, theirs = os.openpty()
    with open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123 - a descriptor
        log = configure(LogSection(), terminal)

        log.emit("bridge_ready")

        assert b"\x1b[32minfo   \x1b[0m bridge_ready" in os.read(ours, 1_000)
        log.close()
    os.close(ours)


def test_the_log_survives_a_standard_output_that_was_closed() -> None:
    log = configure(LogSection(), None)

    log.emit("bridge_ready")
    log.tick()
    log.close()

    assert log.lines_lost >= 1


def test_two_threads_are_never_in_the_log_at_once() -> None:
    inside, most = 0, 0
    is_another_in = threading.Event()

    def now() -> float:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside > 1:
            is_another_in.set()
        is_another_in.wait(0.2)  # Long enough for the other, where nothing keeps it out.
        inside -= 1
        return 0.0

    lines = StreamLines(io.StringIO())
    log = EventLog(level=Level.DEBUG, lines=lines, renderer=render_json, monotonic_now=now)
    threads = [threading.Thread(target=log.emit, args=("bridge_started",)) for _ in range(2)]
    threads.append(threading.Thread(target=log.tick))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 == most
