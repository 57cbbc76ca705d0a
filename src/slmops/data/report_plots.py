"""Plots of a data report as inline SVG: the title says the finding, axes have units.

In come counts, out go plots that take their colours and font from the page, so that they follow light, dark and paper.
Knows no page: titles are text, not yet escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slmops.core.page import Html, element
from slmops.data.findings import FileReport, Lengths

_WIDTH, _HEIGHT = 480, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 22, 44
_ROW, _NAMES = 22, 150  # a label's row, and room for its name
_MOST, _RAREST = 15, 10  # labels that are drawn
_LETTERS = 22  # of a label's name


@dataclass(frozen=True)
class Plot:
    """A plot and the finding it shows."""

    title: str
    svg: Html


def plot_lengths(file: FileReport) -> Plot | None:
    """How many texts are how long."""
    lengths = file.lengths
    if not lengths.bins:
        return None
    highest = max(count for _, _, count in lengths.bins)
    step = (_WIDTH - _LEFT - _RIGHT) / len(lengths.bins)
    scale = (_HEIGHT - _TOP - _BOTTOM) / highest
    drawn = [_line(_LEFT, _HEIGHT - _BOTTOM - scale * tick, _WIDTH - _RIGHT, f"{tick:,}") for tick in _ticks(highest)]
    for place, (low, high, count) in enumerate(lengths.bins):
        bar = (_LEFT + place * step + 0.5, _HEIGHT - _BOTTOM - scale * count, max(step - 1, 0.5), scale * count)
        drawn.append(_bar(*bar, f"{low:,} to {high:,} {lengths.unit}: {count:,} texts"))
    drawn += [*_marks(lengths, step), _text(_LEFT - 6, _TOP + 2, "texts", "end")]
    drawn.append(_text((_LEFT + _WIDTH) / 2, _HEIGHT - 4, f"length of a text ({lengths.unit})", "middle"))
    half = f"half have at most {lengths.median:,} {lengths.unit}, 95 % at most {lengths.most_of_95:,}"
    return Plot(f"{file.file}: {half}", _svg(_HEIGHT, drawn))


def plot_labels(file: FileReport) -> Plot | None:
    """Rows of each label, the most frequent first; of many labels, those in between are left out."""
    labels = [*file.labels.items()]
    if not labels:
        return None
    left_out = max(0, len(labels) - _MOST - _RAREST)
    shown = labels[:_MOST] + labels[_MOST + left_out :]
    room, highest = _WIDTH - _NAMES - 56, labels[0][1]
    drawn = []
    for place, (label, count) in enumerate(shown):
        top, width = (place + (left_out > 0 and place >= _MOST)) * _ROW + 4, room * count / highest
        name = label if len(label) <= _LETTERS else label[: _LETTERS - 1] + "…"
        drawn.append(_text(_NAMES - 8, top + 12, name, "end", "var(--ink)"))
        drawn.append(_bar(_NAMES, top, max(width, 0.5), _ROW - 7, f"{label}: {count:,} rows"))
        drawn.append(_text(_NAMES + width + 6, top + 12, f"{count:,}", "start"))
    if left_out:
        drawn.append(_text(_NAMES - 8, _MOST * _ROW + 16, f"… {left_out:,} more labels …", "end"))
    bottom = (len(shown) + (left_out > 0)) * _ROW + 18
    drawn.append(_text(_NAMES, bottom, "rows of a label", "start"))
    return Plot(f"{file.file}: {_say_balance(list(file.labels.values()))}", _svg(bottom + 8, drawn))


def _say_balance(counts: Sequence[int]) -> str:
    most, least = max(counts), min(counts)
    if most == least:
        return f"each of the {len(counts):,} labels has {most:,} rows"
    return f"the most frequent of {len(counts):,} labels has {_times(most / least)} times the rows of the rarest"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"


def _marks(lengths: Lengths, step: float) -> list[Html]:
    """Numbers below some of the bars: where each begins."""
    every = -(-len(lengths.bins) // 6)
    drawn = []
    for place in range(0, len(lengths.bins), every):
        low, high, _ = lengths.bins[place]
        name = f"{low:,}" if low == high or place < len(lengths.bins) - 1 else f"≥ {low:,}"
        drawn.append(_text(_LEFT + (place + 0.5) * step, _HEIGHT - _BOTTOM + 16, name, "middle"))
    return drawn


def _ticks(highest: int) -> list[int]:
    """Round numbers from 0 to the highest, three to six of them."""
    power = 10 ** (len(str(highest)) - 1)
    step = next(step for step in (power // 5, power // 2, power, 2 * power) if step and highest // step <= 5)
    return list(range(0, highest + 1, step))


def _svg(height: int, drawn: Sequence[Html]) -> Html:
    return element("svg", *drawn, viewBox=f"0 0 {_WIDTH} {height}", role="img")


def _bar(x: float, y: float, width: float, height: float, told: str) -> Html:
    sizes = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}
    return element("rect", element("title", told), fill="var(--accent)", **sizes)


def _line(x: float, y: float, to: float, name: str) -> Html:
    line = element("line", x1=f"{x}", x2=f"{to}", y1=f"{y:.1f}", y2=f"{y:.1f}", stroke="var(--line)")
    return element("g", line, _text(x - 6, y + 4, name, "end"))


def _text(x: float, y: float, words: str, anchor: str, fill: str = "var(--muted)") -> Html:
    return element("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, fill=fill, font_size="11.5")
