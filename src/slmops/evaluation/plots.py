"""Plots of a summary as inline SVG: the title says the finding, axes have units, the shipped model and its teacher
differ from the rest by colour and by marker.

In comes a summary, out come plots that take their colours and font from the page, so that they follow light, dark and
paper; the same summary gives the same bytes. Knows no page: titles are text, not yet escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from slmops.core.page import Html
from slmops.evaluation.drawing import ACCENT, LINE, MUTED, OTHER, Plot, new_figure, shorten, style, to_svg
from slmops.evaluation.figures import Unit, describe_figure, write, write_figure, write_times
from slmops.evaluation.summary import Bin, Point, Summary

TEACHER = "teacher"


def plot_quality(summary: Summary) -> Plot | None:
    """The figure that decides, of every subject, with its interval; None where it was not measured."""
    kept, ours = summary.quality_kept, summary.figure(summary.shipped, summary.quality)
    if ours is None:
        return None
    label = describe_figure(summary.quality).label
    if kept is None:
        title = f"{summary.shipped}: {label} {write(ours.value, 'share')}"
    else:
        title = f"{summary.shipped} keeps {write(kept.value, 'share')} of the teacher’s {label}"
    return Plot(title, _draw_figure(summary, summary.quality))


def plot_latency(summary: Summary) -> Plot | None:
    """Every subject's median latency on a logarithmic axis."""
    return _plot_saved(summary, "latency_ms", "{name} answers in {value}, {times} the teacher’s time")


def plot_model_bytes(summary: Summary) -> Plot | None:
    """Every subject's model files on a logarithmic axis."""
    return _plot_saved(summary, "model_bytes", "The files of {name} are {value}, {times} the teacher’s")


def plot_memory(summary: Summary) -> Plot | None:
    """Every subject's peak memory on a logarithmic axis."""
    return _plot_saved(summary, "peak_memory_mb", "{name} needs {value} at its peak, {times} the teacher’s")


def plot_curve(name: str, points: Sequence[Point]) -> Plot | None:
    """A training curve: the loss of every step, and the loss on validation rows where it was measured."""
    if not points:
        return None
    held_out = [point for point in points if point.validation_loss is not None]
    with style():
        figure, axes = new_figure(height_in=2.4, left_in=0.55)
        learned = [point for point in points if point.step]  # before, nothing was learned
        axes.plot([point.step for point in learned], [point.loss for point in learned], color=MUTED, linewidth=1.2)
        series = [("training", points[-1].loss, MUTED)]
        if held_out:
            losses = [point.validation_loss for point in held_out]
            steps = [point.step for point in held_out]
            axes.plot(steps, losses, color=ACCENT, linewidth=1.6, marker="o", markersize=5, clip_on=False)
            series.append(("validation", losses[-1] or 0.0, ACCENT))
        axes.set_ylim(0, None)
        axes.set_xlim(0, points[-1].step)
        axes.grid(axis="y")
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats a target token)")
        _label_ends(axes, series)
        return Plot(_say_curve(name, points, held_out), to_svg(figure))


def plot_certainty(name: str, bins: Sequence[Bin], shipped: str) -> Plot:
    """How often answers are right, over how probable they are; the larger a mark, the more messages."""
    total = sum(part.rows for part in bins)
    sure, right = (
        100 * sum(part.rows * getattr(part, field) for part in bins) / total for field in ("confidence", "right")
    )
    apart = sure - right
    finding = f"{abs(apart):.1f} points {'surer than it is right' if apart > 0 else 'less sure than it is right'}"
    with style():
        figure, axes = new_figure(height_in=2.6, left_in=0.55)
        colour, marker = _mark(name, shipped)
        axes.plot([0, 100], [0, 100], color=LINE, linewidth=1.2)
        x, y = ([100 * getattr(part, field) for part in bins] for field in ("confidence", "right"))
        axes.plot(x, y, color=colour, linewidth=1, alpha=0.6)
        sizes = [16 + 200 * part.rows / total for part in bins]
        axes.scatter(x, y, s=sizes, color=colour, marker=marker, clip_on=False, zorder=3)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.grid(axis="y")
        axes.set_xlabel("probability of the answer (%)")
        axes.set_ylabel("right (%)")
        return Plot(f"{name} is {finding}", to_svg(figure))


def _plot_saved(summary: Summary, name: str, finding: str) -> Plot | None:
    ours, teachers = summary.figure(summary.shipped, name), summary.figure(TEACHER, name)
    if ours is None or ours.value <= 0:
        return None
    label, unit = describe_figure(name).label, describe_figure(name).unit
    if teachers is None or teachers.value <= 0:
        title = f"{summary.shipped}: {label} {write(ours.value, unit)}"
    else:
        times = write_times(ours.value / teachers.value)
        title = finding.format(name=summary.shipped, value=write(ours.value, unit), times=times)
    return Plot(title, _draw_figure(summary, name))


def _draw_figure(summary: Summary, name: str) -> Html:
    """One row a subject: marker, interval, and the value (or a dash) at the right."""
    described = describe_figure(name)
    scale = {"share": 100.0, "bytes": 1e-6}.get(described.unit, 1.0)
    intervals = [subject.figures.get(name) for subject in summary.subjects]
    values = [scale * part for interval in intervals if interval for part in (interval.low, interval.high)]
    with style():
        figure, axes = new_figure(height_in=0.62 + 0.3 * len(intervals), left_in=1.35)
        if described.unit == "share":
            _set_share_axis(axes, values)
        else:
            _set_log_axis(axes, [value for value in values if value > 0])
        left, _ = axes.get_xlim()
        for row, (subject, interval) in enumerate(zip(summary.subjects, intervals, strict=True)):
            colour, marker = _mark(subject.name, summary.shipped)
            axes.text(
                1.07, row, write_figure(interval, described.unit), transform=axes.get_yaxis_transform(), va="center"
            )
            if interval and scale * interval.value > left:
                low, value, high = (scale * part for part in (interval.low, interval.value, interval.high))
                axes.plot([max(low, left), high], [row, row], color=colour, linewidth=2, clip_on=False)
                axes.plot([value], [row], color=colour, marker=marker, markersize=6, clip_on=False)
            elif interval:
                axes.plot([left], [row], color=colour, marker="<", markersize=7, clip_on=False)
        axes.set_yticks(range(len(intervals)), [shorten(subject.name) for subject in summary.subjects])
        for tick, subject in zip(axes.get_yticklabels(), summary.subjects, strict=True):
            tick.set_fontweight("bold" if subject.name == summary.shipped else "normal")
        axes.set_ylim(len(intervals) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0, pad=9)
        axes.grid(axis="x")
        axes.set_xlabel(_axis_title(described.label, described.unit))
        return to_svg(figure)


def _set_share_axis(axes: Any, values: Sequence[float]) -> None:
    """An x axis over the values (%) within 30 points of the highest: what lies far below would squeeze the rest
    together, and is drawn as an arrow at the edge."""
    high = max(values)
    low = min(value for value in values if value >= high - 30)
    axes.set_xlim(low - 0.08 * (high - low) - 0.1, high + 0.08 * (high - low) + 0.1)


def _set_log_axis(axes: Any, values: Sequence[float]) -> None:
    """A logarithmic x axis with plain numbers, from and to a 1, 2 or 5 beyond the values."""
    ticks = [digit * 10.0**power for power in range(-6, 10) for digit in (1, 2, 5)]
    low = max((tick for tick in ticks if tick < min(values)), default=min(values))
    high = min((tick for tick in ticks if tick > max(values)), default=max(values))
    shown = [tick for tick in ticks if low <= tick <= high]
    if len(shown) > 5:
        shown = [tick for tick in shown if f"{tick:e}".startswith("1")]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xticks(shown, [f"{tick:,.10g}" for tick in shown])
    axes.set_xticks([], minor=True)


def _mark(subject: str, shipped: str) -> tuple[str, str]:
    if subject == shipped:
        return ACCENT, "D"
    return (OTHER, "s") if subject == TEACHER else (MUTED, "o")


def _axis_title(label: str, unit: Unit) -> str:
    return f"{label} (%)" if unit == "share" else f"{label} ({'MB' if unit == 'bytes' else unit}, logarithmic)"


def _label_ends(axes: Any, series: Sequence[tuple[str, float, str]]) -> None:
    """Names each line at its right end, the higher one above, never on one another."""
    _, top = axes.get_ylim()
    lowest = -math.inf
    for name, value, colour in sorted(series, key=lambda line: line[1]):
        lowest = max(value, lowest + 0.11 * top)
        axes.text(1.02, lowest / top, name, transform=axes.transAxes, color=colour, va="center")


def _say_curve(name: str, points: Sequence[Point], held_out: Sequence[Point]) -> str:
    if len(held_out) < 2:
        first, last = next(point.loss for point in points if point.step), points[-1].loss
        return f"{name}: training loss {'fell' if last < first else 'rose'} from {first:.2f} to {last:.2f}"
    losses = [(point.validation_loss or 0.0, point.step) for point in held_out]
    (first, _), (last, _), (best, step) = losses[0], losses[-1], min(losses)
    if last <= 1.05 * best:
        return (
            f"{name}: validation loss fell from {first:.2f} to {last:.2f}"
            if last < first
            else (f"{name}: validation loss stayed at {last:.2f}")
        )
    return f"{name}: validation loss was lowest at step {step:,} ({best:.2f}), then rose to {last:.2f}"
