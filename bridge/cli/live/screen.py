"""The screen of `top`; every text in a moment is harmless already, and is never read as markup."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bridge.cli.live.answers import Device, Status
from bridge.cli.live.moment import Moment
from bridge.cli.showcase.screen import ACCENT, BAD, GOOD, QUIET, WRONG, framed

WIDE = 100
VERY_WIDE = 130
FRAME_LINES = 10
"""Title, footer, and the frames of four panels."""
ROWS_MAX = 12
_FULL = 0.8
"""A window or spool so full is worth a look."""
_SHED = ("", "low", "low and medium")
_STANDINGS = ("live", "quiet", "grouped", "silent", "offline")
_SPANS_S = ((86_400, "d"), (3_600, "h"), (60, "min"))
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def render(moment: Moment, *, width: int, height: int) -> RenderableType:
    """Draw one frame; a small terminal shows fewer reasons and devices."""
    status = moment.status
    if status is None:
        return Group(_title(moment), Text(), *_absence(moment))
    columns = 4 if width >= VERY_WIDE else 3 if width >= WIDE else 2
    facts = _facts(moment, status)
    free = height - FRAME_LINES - len(moment.parts) - -(-len(facts) // columns)
    letters = max(1, min(len(moment.dead_letters), ROWS_MAX, free // 2))
    devices = max(1, min(ROWS_MAX, free - letters))
    return Group(
        _title(moment),
        framed(_flow(facts, columns=columns), "flow"),
        framed(_parts(moment), "ready" if status.ready else "not ready"),
        framed(_letters(moment, rows=letters), "dead letters"),
        framed(
            _devices(moment.devices, rows=devices, is_wide=width >= WIDE),
            f"devices by {moment.sort}",
        ),
        _footer(status),
    )


def _title(moment: Moment) -> RenderableType:
    left = Text("  ")
    left.append("mqtt-kafka-bridge", style=f"bold {ACCENT}")
    if moment.status is not None:
        left.append(f" {moment.status.version}", style="bold")
    left.append(f"  {moment.url}", style=QUIET)
    right = Text(style=QUIET)
    if moment.status is not None:
        right.append(f"up {span(moment.status.uptime_s)}  ")
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(left, right)
    return grid


def _absence(moment: Moment) -> Sequence[RenderableType]:
    """Say since when there is nothing to show, and why; long words may wrap here."""
    what = "the bridge is away" if moment.state == "away" else "the bridge refuses"
    first = Text("  ● ", style=WRONG)
    first.append(f"{what} since {moment.since} ({span(moment.for_s)})", style=WRONG)
    return (
        first,
        Text(f"    {moment.reason}"),
        Text("    asking again; Ctrl-C ends", style=QUIET),
    )


def _facts(moment: Moment, status: Status) -> list[tuple[str, Text]]:
    books, spool = status.conservation, status.spool
    shed = _SHED[min(max(status.shedding.level, 0), len(_SHED) - 1)]
    facts = [
        ("received", Text(f"{status.received_per_s.now:,.1f}/s", style="bold")),
        ("settled", Text(f"{status.settled_per_s.now:,.1f}/s", style=f"bold {GOOD}")),
        ("latency p50", _milliseconds(moment.latency.p50_s)),
        ("latency p99", _milliseconds(moment.latency.p99_s)),
        ("window used", _share(status.window_used_ratio)),
        ("oldest owed", Text(f"{status.oldest_unsettled_s:,.3f} s")),
        ("in flight", Text(f"{books.in_flight:,}")),
        ("on disk", Text(f"{books.spooled:,}", style=BAD if books.spooled else "")),
        ("spool", _spool(spool.bytes, spool.bytes_max)),
        ("outage budget", _budget(status)),
    ]
    if shed:
        facts.append(("shedding", Text(shed, style=BAD)))
    if books.residue:
        facts.append(("residue", Text(f"{books.residue:,}", style=WRONG)))
    return facts


def _flow(facts: Sequence[tuple[str, Text]], *, columns: int) -> RenderableType:
    table = Table.grid(expand=True, padding=(0, 1))
    for _ in range(columns):
        table.add_column(no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for first in range(0, len(facts), columns):
        row: list[Text] = []
        for name, value in facts[first : first + columns]:
            row += [Text(name, style=QUIET), value]
        table.add_row(*row)
    return table


def _parts(moment: Moment) -> RenderableType:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for part in moment.parts:
        table.add_row(
            Text("●" if part.is_ok else "✗", style=GOOD if part.is_ok else WRONG),
            Text(part.name),
            Text(
                f"{part.state}  {part.detail}" if part.detail else part.state,
                style=QUIET if part.is_ok else WRONG,
            ),
        )
    return table


def _letters(moment: Moment, *, rows: int) -> RenderableType:
    if not moment.dead_letters:
        return Text("none", style=QUIET)
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for each in moment.dead_letters[:rows]:
        is_now = bool(each.per_s)
        rate = "-" if each.per_s is None else f"{each.per_s:,.2f}/s"
        table.add_row(
            Text(each.reason, style=BAD if is_now else ""),
            Text(rate, style="bold" if is_now else QUIET),
            Text(f"{each.count:,} in all", style=QUIET),
        )
    return table


def _devices(devices: Sequence[Device], *, rows: int, is_wide: bool) -> RenderableType:
    if not devices:
        return Text("none stands out", style=QUIET)
    table = Table.grid(expand=True, padding=(0, 2 if is_wide else 1))
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    for each in devices[:rows]:
        offset_s = each.clock_offset_s
        table.add_row(
            Text(each.device_id),
            Text(f"{each.messages_per_s:,.2f}/s"),
            Text(f"{each.errors_per_s:,.2f} bad/s", style=BAD if each.errors_per_s else QUIET),
            Text("" if offset_s is None else f"{offset_s:+,.1f} s", style=QUIET),
        )
    return table


def _footer(status: Status) -> RenderableType:
    footer = Text("  ", no_wrap=True, overflow="ellipsis")
    fleet = status.fleet
    footer.append(f"{status.active_devices:,} devices active", style=QUIET)
    for name in _STANDINGS:
        count = fleet.devices.get(name, 0)
        if count and name != "live":
            footer.append(f"  {count:,} {name}", style=BAD if name == "silent" else QUIET)
    if fleet.is_fleet_silent:
        footer.append("  the fleet is silent", style=WRONG)
    if fleet.clocks_wrong:
        footer.append(f"  {fleet.clocks_wrong:,} clocks wrong", style=BAD)
    return footer


def _milliseconds(latency_s: float | None) -> Text:
    if latency_s is None:
        return Text("-", style=QUIET)
    return Text(f"{latency_s * 1_000:,.1f} ms", style=f"bold {ACCENT}")


def _share(ratio: float) -> Text:
    return Text(f"{ratio:.1%}", style=BAD if ratio >= _FULL else "")


def _spool(used: int, room: int) -> Text:
    if not room:
        return Text(f"off, {size(used)}" if used else "off", style=QUIET)
    return Text(f"{used / room:.0%} of {size(room)}", style=BAD if used >= _FULL * room else "")


def _budget(status: Status) -> Text:
    budget = status.outage_budget
    if budget.seconds is None:
        return Text("no inflow" if budget.state == "no_inflow" else budget.state, style=QUIET)
    return Text(f"{'≥ ' if budget.is_unknown_after else ''}{span(budget.seconds)}")


def span(seconds: float) -> str:
    """Write a span in its two largest units."""
    left = max(0, int(seconds))
    for position, (unit_s, name) in enumerate(_SPANS_S):
        if left >= unit_s:
            smaller_s, smaller = (*_SPANS_S, (1, "s"))[position + 1]
            return f"{left // unit_s} {name} {left % unit_s // smaller_s} {smaller}"
    return f"{left} s"


def size(count: int) -> str:
    """Write a number of bytes."""
    for unit, name in _SIZES:
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count} B"
