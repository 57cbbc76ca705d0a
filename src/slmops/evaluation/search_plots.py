"""Plots of a search: what each trial reached, and which keys mattered. In comes a search, out come plots."""

from __future__ import annotations

from slmops.core.page import Html
from slmops.core.search import say_values
from slmops.evaluation.drawing import ACCENT, MUTED, Plot, new_figure, style, to_svg
from slmops.evaluation.summary import Search


def plot_trials(name: str, search: Search) -> Plot | None:
    """Each trial's loss on validation rows, and the best so far; those that ended early are hollow."""
    complete = [trial for trial in search.trials if trial.state == "complete" and trial.score is not None]
    if not complete:
        return None
    best = search.trials[search.best]
    begin, end = complete[0].score or 0.0, best.score or 0.0
    fell = f"{len(search.trials)} trials brought the validation loss from {begin:.3f} to {end:.3f}"
    title = f"{name}: {fell}, by {say_values(best.values)}"
    return Plot(title, _draw_trials(search))


def plot_importance(name: str, search: Search) -> Plot | None:
    """How much of the scores' spread each key explains; None where too few trials can tell."""
    ranked = sorted(search.importance.items(), key=lambda one: -one[1])
    if not ranked:
        return None
    with style():
        figure, axes = new_figure(height_in=0.62 + 0.3 * len(ranked), left_in=1.6)
        axes.barh(range(len(ranked)), [100 * share for _, share in ranked], height=0.5, color=ACCENT)
        axes.set_yticks(range(len(ranked)), [key for key, _ in ranked])
        axes.set_ylim(len(ranked) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.tick_params(axis="y", length=0, pad=9)
        axes.grid(axis="x")
        axes.set_xlabel("share of the spread of losses (%)")
        return Plot(f"{name}: {ranked[0][0]} mattered most", to_svg(figure))


def _draw_trials(search: Search) -> Html:
    shown = [trial for trial in search.trials if trial.score is not None]
    lowest: list[float] = []
    for trial in shown:
        before = lowest[-1] if lowest else float("inf")
        lowest.append(min(before, trial.score or 0.0) if trial.state == "complete" else before)
    with style():
        figure, axes = new_figure(height_in=2.4, left_in=0.55)
        for state, face in (("complete", MUTED), ("pruned", "none")):
            of_state = [trial for trial in shown if trial.state == state]
            axes.plot(
                [trial.number + 1 for trial in of_state],
                [trial.score for trial in of_state],
                color=MUTED,
                marker="o",
                linestyle="none",
                markerfacecolor=face,
                markersize=5,
                clip_on=False,
            )
        numbers = [trial.number + 1 for trial in shown]
        axes.step(numbers, lowest, where="post", color=ACCENT, linewidth=1.6)
        axes.text(1.02, lowest[-1], "best so far", transform=axes.get_yaxis_transform(), color=ACCENT, va="center")
        axes.set_xlim(0.5, len(search.trials) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y")
        axes.set_xlabel("trial (hollow: ended early)")
        axes.set_ylabel("validation loss")
        return to_svg(figure)
