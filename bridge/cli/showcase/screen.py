"""The live screen of the demo, for a terminal; everything that came from a device is escaped."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bridge.cli.showcase.view import View
from bridge.observe.text import printable

QUIET = "grey58"
ACCENT = "cyan"
GOOD = "green"
BAD = "yellow"
WRONG = "bold red"
BLOCKS = " ▁▂▃▄▅▆▇█"
TEXT_MAX = 160
UNITS = {"temperature": "°C", "humidity": "%", "pressure": "hPa", "battery_level": "% full"}
WIDE = 100
FRAME_LINES = 16
"""Lines of a screen that are neither a record nor a reason."""
RECORDS_MAX = 10
REASONS_SHOWN = 6
"""As many as the fleet of the demo causes; the room is kept, so that nothing jumps."""


def render(view: View, *, width: int, height: int) -> RenderableType:
    """Draw one frame; a small terminal shows fewer records and columns."""
    free = height - FRAME_LINES
    reasons = max(1, min(REASONS_SHOWN, free - 3))
    records = max(1, min(RECORDS_MAX, free - reasons))
    return Group(
        _title(view),
        _flow(view),
        _records(view, rows=records, is_wide=width >= WIDE),
        _dead_letters(view, rows=reasons),
        _bridge(view),
        _footer(view),
    )


def _title(view: View) -> RenderableType:
    title = Text()
    title.append("  mqtt-kafka-bridge", style=f"bold {ACCENT}")
    title.append("  demo", style="bold")
    title.append(f"   {view.place}", style=QUIET)
    minutes, seconds = divmod(int(view.elapsed_s), 60)
    right = Text(f"{minutes}:{seconds:02d}  ", style=QUIET)
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right")
    grid.add_row(title, right)
    return grid


def _flow(view: View) -> RenderableType:
    table = Table.grid(expand=True, padding=(0, 2))
    for _ in range(5):
        table.add_column(ratio=1, no_wrap=True)
    table.add_row(
        *(
            Text(heading, style=QUIET)
            for heading in (
                "devices send",
                "telemetry",
                "dead letters",
                "latency p50",
                "latency p99",
            )
        )
    )
    table.add_row(
        _rate(view.sent_per_s, "bold"),
        _rate(view.telemetry_per_s, f"bold {GOOD}"),
        _rate(view.dead_letters_per_s, f"bold {BAD}"),
        _milliseconds(view.latency_p50_s),
        _milliseconds(view.latency_p99_s),
    )
    table.add_row(
        Text(f"{view.sent_total:,} in all", style=QUIET),
        Text(f"{view.telemetry_total:,} in all", style=QUIET),
        Text(f"{view.dead_letters_total:,} in all", style=QUIET),
        Text(sparkline(view.latency_history_s), style=ACCENT),
        Text("to the consumer", style=QUIET),
    )
    return framed(table, "flow")


def _records(view: View, *, rows: int, is_wide: bool) -> RenderableType:
    table = Table(box=None, expand=True, padding=(0, 1), header_style=QUIET)
    table.add_column("received", no_wrap=True)
    table.add_column("device", no_wrap=True, overflow="ellipsis", max_width=18)
    table.add_column("number", justify="right", no_wrap=True)
    table.add_column("metrics", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("drift", justify="right", no_wrap=True)
    if is_wide:
        table.add_column("partition/offset", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    recent = view.recent[-rows:]
    for record in reversed(recent):
        shown = (f"{record.metrics.get(name, '-')} {unit}" for name, unit in UNITS.items())
        drifts = abs(record.time_drift_s) >= 1
        place = (Text(f"{record.partition}/{record.offset}", style=QUIET),) if is_wide else ()
        table.add_row(
            Text(printable(record.server_received_at[11:23], TEXT_MAX), style=QUIET),
            Text(printable(record.device_id, TEXT_MAX)),
            Text(f"{record.sequence}", style=QUIET),
            Text(printable("   ".join(shown), TEXT_MAX)),
            Text(f"{record.time_drift_s:+.1f} s", style=BAD if drifts else QUIET),
            *place,
            Text(f"{record.latency_s * 1_000:.1f}", style=QUIET),
        )
    for _ in range(rows - len(recent)):
        table.add_row()
    return framed(table, "telemetry-raw, newest first")


def _dead_letters(view: View, *, rows: int) -> RenderableType:
    table = Table(box=None, expand=True, padding=(0, 1), header_style=QUIET)
    table.add_column("reason", no_wrap=True, min_width=16)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("last device", no_wrap=True, overflow="ellipsis", max_width=18)
    table.add_column("last detail", ratio=1, no_wrap=True, overflow="ellipsis")
    letters = view.letters[:rows]
    for letter in letters:
        table.add_row(
            Text(printable(letter.reason, TEXT_MAX), style=BAD),
            Text(f"{letter.count:,}"),
            Text(printable(letter.device_id, TEXT_MAX)),
            Text(printable(letter.detail, TEXT_MAX), style=QUIET),
        )
    for _ in range(rows - len(letters)):
        table.add_row()
    return framed(table, "telemetry-dlq, by reason")


def _bridge(view: View) -> RenderableType:
    table = Table.grid(expand=True, padding=(0, 2))
    table.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
    parts = Text()
    for check in view.checks:
        parts.append("● ", style=GOOD if check.is_ok else WRONG)
        parts.append(f"{printable(check.name, 40)} ")
        parts.append(f"{printable(check.state, 40)}   ", style=QUIET)
    if not view.checks:
        parts.append("● ", style=WRONG)
        parts.append("no answer", style=QUIET)
    counters = Text()
    for name, value in view.counters:
        counters.append(f"{value:,.0f} ", style="bold")
        counters.append(f"{name}   ", style=QUIET)
    table.add_row(parts, counters)
    return framed(table, "the bridge about itself")


def _footer(view: View) -> RenderableType:
    footer = Text("  ", no_wrap=True, overflow="ellipsis")
    if view.wrong:
        footer.append(printable(view.wrong, TEXT_MAX), style=WRONG)
    else:
        footer.append("every message accounted for", style=GOOD)
        footer.append(f", {view.owed:,} on the way", style=QUIET)
    footer.append(f"    {view.note}", style=QUIET)
    return footer


def framed(content: RenderableType, title: str) -> Panel:
    """Draw a quiet frame around something."""
    return Panel(
        content,
        title=Text(title, style=QUIET),
        title_align="left",
        box=box.ROUNDED,
        border_style="grey30",
        padding=(0, 1),
    )


def _rate(per_s: float, style: str) -> Text:
    text = Text(f"{per_s:,.0f}", style=style)
    text.append(" /s", style=QUIET)
    return text


def _milliseconds(latency_s: float | None) -> Text:
    if latency_s is None:
        return Text("-", style=QUIET)
    text = Text(f"{latency_s * 1_000:.1f}", style=f"bold {ACCENT}")
    text.append(" ms", style=QUIET)
    return text


def sparkline(values: Sequence[float]) -> str:
    """Draw values as blocks, the highest of them at full height."""
    top = max(values, default=0.0)
    if top <= 0:
        return ""
    return "".join(BLOCKS[max(1, round(value / top * (len(BLOCKS) - 1)))] for value in values)
