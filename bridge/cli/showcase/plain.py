"""The demo as plain lines, for pipes, logs and terminals that can do no more."""

from typing import Any

from bridge.cli.showcase.view import View
from bridge.observe.text import printable

TEXT_MAX = 200


def line(view: View) -> str:
    """Say one moment on one line."""
    letters = ", ".join(f"{letter.reason} {letter.count:,}" for letter in view.letters)
    parts = (
        f"{view.elapsed_s:.0f} s",
        f"sent {view.sent_total:,} ({view.sent_per_s:,.0f}/s)",
        f"telemetry {view.telemetry_total:,} ({view.telemetry_per_s:,.0f}/s)",
        f"dead letters {view.dead_letters_total:,}" + (f" ({letters})" if letters else ""),
        f"on the way {view.owed:,}",
        f"latency p50 {_milliseconds(view.latency_p50_s)} p99 {_milliseconds(view.latency_p99_s)}",
        "ready" if view.is_ready else "not ready",
    )
    text = "  ".join((*parts, f"WRONG: {view.wrong}") if view.wrong else parts)
    return printable(text, TEXT_MAX * 2)


def farewell(summary: dict[str, Any]) -> str:
    """Say the outcome of a live demo on one line."""
    return (
        f"carried {summary['sent']:,} messages in {summary['duration_s']:.0f} s:"
        f" {summary['telemetry']:,} telemetry, {summary['dead_letters']:,} dead letters,"
        f" {summary['missing']:,} missing, {summary['unexpected']:,} unexpected,"
        f" {summary['duplicates']:,} duplicates, {summary['out_of_order']:,} out of order"
    )


def _milliseconds(latency_s: float | None) -> str:
    return "-" if latency_s is None else f"{latency_s * 1_000:.1f} ms"
