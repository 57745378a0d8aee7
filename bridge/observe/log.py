"""Facts become log lines: one event, one line, never an exception, never a wait.

structlog carries the event; the catalogue gives its level, `RepeatLimiter` its measure, and the
renderers here its form. Libraries log from any thread, so each method may be called from any.
"""

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import msgspec

from bridge.config.paths import quoted_path
from bridge.config.sections import LogSection
from bridge.errors import ConfigError
from bridge.observe import journal
from bridge.observe.catalogue.entry import Level
from bridge.observe.events import CATALOGUE
from bridge.observe.journal import JournalLines
from bridge.observe.lines import Lines, open_lines
from bridge.observe.repeats import WINDOW_S, RepeatLimiter
from bridge.observe.structlog_alone import structlog
from bridge.observe.text import FIELD_CHARACTERS_MAX, printable

LINE_BYTES_MAX = 16_384
LIST_ITEMS_MAX = 32
_SHORT_FIELD_CHARACTERS = 128
"""Fields of a line that would be too long are cut to this; 32 items of 13 fields still fit."""
_CLOSE_TIMEOUT_S = 1.0
"""The last lines tell where every message went: worth one second of a slow reader."""

Fields: TypeAlias = MutableMapping[str, Any]
Renderer: TypeAlias = Callable[[Fields], bytes]

_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1
"""What readers of JSON lines take as an integer."""
_LEVELS = tuple(Level)
_STAMPED = frozenset({"timestamp", "level", "event"})
_NO_JOURNAL = (
    'log.format: "journal" needs the socket {}, which is not there; start systemd-journald, or'
    ' write format = "auto"'
)
_JSON = msgspec.json.Encoder()
_COLOURS = {Level.DEBUG: "2", Level.INFO: "32", Level.WARNING: "33", Level.ERROR: "31"}


class EventLog:
    """Write events of the catalogue; an event or field that is not in it is our bug.

    Lines that repetition or a slow reader cost are counted here, for the metrics.
    """

    def __init__(
        self,
        *,
        level: Level,
        lines: Lines,
        renderer: Renderer,
        unix_now: Callable[[], float] = time.time,
        monotonic_now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lines_suppressed = 0
        self.level = level
        self._lines = lines
        self._reported_lost = 0
        self._unix_now = unix_now
        self._monotonic_now = monotonic_now
        self._limiter = RepeatLimiter()
        self._lock = threading.RLock()
        """Held while counts and lines change; the loop's thread waits for one line at most."""
        self._logger = structlog.wrap_logger(
            _LevelLogger(lines),
            processors=[self._stamp, lambda _logger, _method, fields: renderer(fields)],
            wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
            context_class=dict,
        ).bind()

    @property
    def level(self) -> Level:
        """The lowest level that is written."""
        return self._level

    @level.setter
    def level(self, level: Level) -> None:
        self._level = level
        self._written_levels = frozenset(_LEVELS[_LEVELS.index(level) :])

    @property
    def lines_lost(self) -> int:
        """Lines left out because standard output was full or closed."""
        return self._lines.lines_lost

    def emit(self, event: str, /, **fields: object) -> None:
        """Write one event, unless its level is too low or it repeats too often."""
        entry = CATALOGUE.get(event)
        assert entry is not None, f"event {event!r} is not in the catalogue"
        assert entry.allowed.issuperset(fields), (
            f"event {event!r} has no field {', '.join(sorted(set(fields) - entry.allowed))}"
        )
        if entry.level not in self._written_levels:
            return
        key = (event, str(fields.get(entry.repeats_by, "")))
        with self._lock:
            suppressed = self._limiter.admit(key, self._monotonic_now())
            if suppressed is None:
                self.lines_suppressed += 1
                return
            if suppressed:
                fields["suppressed"] = suppressed
            getattr(self._logger, entry.level)(event, **fields)

    def emit_always(self, event: str, /, **fields: object) -> None:
        """Write an event whatever the level of the log, and however often it comes.

        For what was asked for by name; the caller keeps a bound of its own.
        """
        entry = CATALOGUE.get(event)
        assert entry is not None, f"event {event!r} is not in the catalogue"
        assert entry.allowed.issuperset(fields), f"event {event!r} has no such field"
        with self._lock:
            getattr(self._logger, entry.level)(event, **fields)

    def tick(self) -> None:
        """Write what waits and report what was left out; for a timer of about a second."""
        with self._lock:
            for (event, value), suppressed in self._limiter.expire(self._monotonic_now()):
                self._report_suppressed(event, value, suppressed)
            if self._lines.flush() and self._lines.lines_lost > self._reported_lost:
                lost = self._lines.lines_lost - self._reported_lost
                self._reported_lost += lost
                self.emit("log_lines_lost", lost=lost)

    def report_suppressed(self) -> None:
        """Report every count now, so that what is said next is the last word."""
        with self._lock:
            for (event, value), suppressed in self._limiter.expire(float("inf")):
                self._report_suppressed(event, value, suppressed)

    def close(self) -> None:
        """Report every count, give a slow reader one second, and let go."""
        with self._lock:
            self.report_suppressed()
            self._lines.flush(timeout_s=_CLOSE_TIMEOUT_S)
            self._lines.close()

    def _report_suppressed(self, event: str, value: object, suppressed: int) -> None:
        # Past the limiter: this line is the bound, one a key and window.
        self._logger.info(
            "events_suppressed", of=event, by=value, suppressed=suppressed, window_s=WINDOW_S
        )

    def _stamp(self, _logger: object, method: str, fields: Fields) -> Fields:
        now = datetime.fromtimestamp(self._unix_now(), UTC)
        return {
            "timestamp": now.isoformat(timespec="microseconds")[: -len("+00:00")] + "Z",
            "level": method,
            "event": fields.pop("event"),
            **fields,
        }


class LibraryLog(logging.Handler):
    """Turn what libraries log (asyncio, librdkafka) into events: no line escapes the rules."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event for the record."""
        error = record.exc_info[1] if record.exc_info else None
        self._log.emit(
            "library_reported",
            library=record.name,
            text=record.getMessage(),
            **({"error": repr(error), "where": raised_at(error)} if error else {}),
        )


def configure(
    section: LogSection,
    stream: IO[str] | None,
    *,
    environment: Mapping[str, str] = os.environ,
    journal_socket: Path = journal.SOCKET,
) -> EventLog:
    """Open the log on a stream; None, as `sys.stdout` is when closed at start, loses all lines.

    Raises:
        ConfigError: The journal is asked for, and there is none.
    """
    level = Level(section.level)
    is_terminal = stream is not None and _is_terminal(stream)
    match _choose(section.format, stream, environment, journal_socket, is_terminal=is_terminal):
        case "journal":
            if not journal_socket.is_socket():
                raise ConfigError([_NO_JOURNAL.format(quoted_path(journal_socket))])
            lines: Lines = JournalLines(journal_socket)
            return EventLog(level=level, lines=lines, renderer=render_journal)
        case "console":
            renderer = render_console_coloured if is_terminal else render_console
        case "json":
            renderer = render_json
    return EventLog(level=level, lines=open_lines(stream), renderer=renderer)


def _choose(
    wanted: Literal["auto", "console", "json", "journal"],
    stream: IO[str] | None,
    environment: Mapping[str, str],
    journal_socket: Path,
    *,
    is_terminal: bool,
) -> Literal["console", "json", "journal"]:
    if wanted != "auto":
        return wanted
    if is_terminal:
        return "console"
    # In a container whose output goes to the journal of the host its socket is not there.
    is_journal = journal.is_journal(stream, environment) and journal_socket.is_socket()
    return "journal" if is_journal else "json"


def install_library_log(log: EventLog) -> None:
    """Make the event log the only place where Python's own logging goes."""
    root = logging.getLogger()
    root.handlers = [LibraryLog(log)]
    root.setLevel(logging.WARNING)


def raised_at(error: BaseException) -> str:
    """Name the place that raised, as `file:line function`; for the field `where`."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno} {frames[-1].name}" if frames else ""


def render_json(fields: Fields) -> bytes:
    """Write one JSON line."""
    return _fitting(fields, lambda cleaned: _JSON.encode(cleaned) + b"\n")


def render_journal(fields: Fields) -> bytes:
    """Write one entry of the systemd journal."""
    return _fitting(
        fields,
        lambda cleaned: journal.encode(journal.entry_of(cleaned, _sentence(cleaned))),
    )


def render_console(fields: Fields) -> bytes:
    """Write one line for people."""
    return _console(fields, colour="")


def render_console_coloured(fields: Fields) -> bytes:
    """Write one line for people, the level in colour."""
    return _console(fields, colour=_COLOURS[Level(fields["level"])])


def _console(fields: Fields, *, colour: str) -> bytes:
    return _fitting(fields, lambda cleaned: _console_line(cleaned, colour))


def _fitting(fields: Fields, write: Callable[[dict[str, Any]], bytes]) -> bytes:
    """Write the fields so that the line is not too long: as they are, or short, or hardly any."""
    line = write(_clean_all(fields, FIELD_CHARACTERS_MAX))
    if len(line) > LINE_BYTES_MAX:
        line = write(_shorten(fields))
    return line if len(line) <= LINE_BYTES_MAX else write(_bare(fields))


def _console_line(cleaned: dict[str, Any], colour: str) -> bytes:
    level = f"{cleaned['level']:<7}"
    if colour:
        level = f"\x1b[{colour}m{level}\x1b[0m"
    return f"{cleaned['timestamp']} {level} {_sentence(cleaned)}".encode() + b"\n"


def _sentence(cleaned: dict[str, Any]) -> str:
    """Write the event and its own fields for people."""
    own = (f"{k}={_quoted(v)}" for k, v in cleaned.items() if k not in _STAMPED)
    return " ".join([cleaned["event"], *own])


def _quoted(value: object) -> str:
    if isinstance(value, str) and value and not any(c in value for c in ' "=\\'):
        return value
    return _JSON.encode(value).decode()


def _clean_all(fields: Fields, limit: int) -> dict[str, Any]:
    return {
        name: printable(value, limit) if type(value) is str else _clean(value, limit)
        for name, value in fields.items()
    }


def _clean(value: object, limit: int) -> object:
    """Make any value safe; whatever it is, its line is written."""
    match value:
        case None | bool() | float():
            return value
        case int() if _INTEGER_MIN <= value <= _INTEGER_MAX:
            return int(value)
        case list() | tuple():
            kept = [_clean(item, limit) for item in value[:LIST_ITEMS_MAX]]
            return kept if len(value) <= LIST_ITEMS_MAX else [*kept, f"… ({len(value)} items)"]
    return printable(_as_text(value, limit), limit)


def _as_text(value: object, limit: int) -> str:
    match value:
        case int():  # hex: decimal digits of a huge number cost quadratic time, or raise.
            return hex(value)
        case bytes() | bytearray():
            return value[: limit + 1].decode("utf-8", "backslashreplace")
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a foreign __str__ may not stop the bridge
        return f"<{type(value).__name__}>"


def _shorten(fields: Fields) -> dict[str, Any]:
    return {**_clean_all(fields, _SHORT_FIELD_CHARACTERS), "line_cut": True}


def _bare(fields: Fields) -> dict[str, Any]:
    return {name: fields[name] for name in ("timestamp", "level", "event")} | {"line_cut": True}


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except (OSError, ValueError):
        return False


class _LevelLogger:
    """What structlog calls last: a method for each level, all the same."""

    def __init__(self, lines: Lines) -> None:
        self.debug = self.info = self.warning = self.error = lines.write
