"""Bars as SVG: a few kilobytes that a README shows as they are, without script, style or font."""

from collections.abc import Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 720
_NAMES: Final = 150
"""Room for the names, on the left."""
_FIGURES: Final = 80
"""Room for the figures, on the right of the longest bar."""
_BAR: Final = 22
_GAP: Final = 10
_TITLE: Final = 44
_COLOURS: Final = ("#2a6f97", "#c1666b", "#8a8a8a", "#a9bcd0", "#d9a441", "#5b8c5a")
_LEGEND_ROW: Final = 3
"""How many names of the legend stand side by side."""
_FIRST: Final = _COLOURS[0]


def draw_bars(
    title: str, groups: Mapping[str, Sequence[tuple[str, float]]], *, digits: int
) -> bytes:
    """Draw a bar for each value, from 0; groups share a name, and series a colour.

    One series needs no legend: then the group names its only bar.
    """
    series = list(dict.fromkeys(name for bars in groups.values() for name, _ in bars))
    longest = max(value for bars in groups.values() for _, value in bars) or 1.0
    has_legend = len(series) > 1
    body: list[str] = []
    y = _TITLE
    for group, bars in groups.items():
        middle = y + _BAR * len(bars) / 2
        body.append(_text(_NAMES - 10, middle + 5, group, "end"))
        for name, value in bars:
            length = max(1.0, value / longest * (WIDTH - _NAMES - _FIGURES))
            colour = _COLOURS[series.index(name) % len(_COLOURS)] if has_legend else _FIRST
            body.append(
                f'<rect x="{_NAMES}" y="{y + 1}" width="{length:.1f}" height="{_BAR - 2}"'
                f' fill="{colour}"/>'
            )
            body.append(_text(_NAMES + length + 6, y + 16, f"{value:,.{digits}f}", "start"))
            y += _BAR
        y += _GAP
    if has_legend:
        body += _legend(series, y)
        y += _BAR * -(-len(series) // _LEGEND_ROW)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 6}"'
        ' font-family="sans-serif" font-size="14" fill="#222222">\n'
        f'<rect width="{WIDTH}" height="{y + 6}" fill="#ffffff"/>\n'
        f'<text x="{_NAMES}" y="26" font-size="16">{escape(title)}</text>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    ).encode()


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _legend(series: Sequence[str], y: int) -> list[str]:
    step = (WIDTH - _NAMES) // min(len(series), _LEGEND_ROW)
    drawn: list[str] = []
    for number, name in enumerate(series):
        row, column = divmod(number, _LEGEND_ROW)
        x = _NAMES + column * step
        colour = _COLOURS[number % len(_COLOURS)]
        drawn.append(f'<rect x="{x}" y="{y + row * _BAR}" width="14" height="14" fill="{colour}"/>')
        drawn.append(_text(x + 20, y + row * _BAR + 12, name, "start"))
    return drawn
