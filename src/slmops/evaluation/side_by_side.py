"""The parts of a report that set figures next to one another: subjects, differences, published figures, Foundry Local.

In comes a summary, out go tables and plots as elements. What was not measured is a dash. Knows no page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from slmops.core.measurement import Interval
from slmops.core.page import Html, element, join, table
from slmops.evaluation.figures import (
    FIGURES,
    MISSING,
    Unit,
    describe_figure,
    gains_of,
    write_difference,
    write_figure,
    write_level,
    write_range,
)
from slmops.evaluation.plots import Plot, plot_latency, plot_memory, plot_model_bytes, plot_quality
from slmops.evaluation.summary import Comparison, Gain, Link, Subject, Summary

_TEACHER_INT4 = "teacher_int4"


def show_subjects(summary: Summary) -> Html:
    """Plots of the figures that decide, a table of all, and who is who."""
    head = ["", *(_name(subject.name, summary) for subject in summary.subjects)]
    small = next((i for s in summary.subjects for i in s.figures.values() if i and i.low != i.high), None)
    caption = f"★ best of its row (point estimate) · small: {write_level(small)} interval · {MISSING} not measured"
    return join(
        show_plots(plot(summary) for plot in (plot_quality, plot_latency, plot_model_bytes, plot_memory)),
        table(head, _figure_rows(summary.subjects), caption=caption, class_="subjects"),
        element("h3", "Who is who"),
        element("dl", map(_introduce, summary.subjects)),
        element("h3", f"What {summary.shipped} gains"),
        _show_gains(summary),
    )


def show_plots(plots: Iterable[Plot | None]) -> Html:
    """Those plots that there are."""
    drawn = [element("figure", element("figcaption", plot.title), plot.svg) for plot in plots if plot]
    return element("div", drawn, class_="plots")


def show_comparisons(comparisons: Sequence[Comparison]) -> Html:
    """Differences with interval and p, and what they mean."""
    if not comparisons:
        return element("p", "Nothing was compared.")
    rows = [_comparison_row(comparison) for comparison in comparisons]
    messages = f"{comparisons[0].difference.n:,}" if comparisons[0].difference.n > 1 else "the same"
    caption = f"Paired tests on {messages} test messages; called a real difference where p is below 0.05"
    return table(["", "difference", "p", "in words"], rows, caption=caption)


def show_published(summary: Summary) -> Html:
    """What the field quotes, ours, and whether ours reaches it."""
    if not summary.published:
        return element("p", "None apply to this run.")
    rows = [
        [
            join(claim.claim, element("small", claim.note) if claim.note else None),
            claim.published,
            figure_cell(claim.ours, claim.unit),
            tick(claim.reached, "reached", "not reached"),
        ]
        for claim in summary.published
    ]
    return table(["claim", "published", "ours", ""], rows, caption="All of ours from this one run, on this task")


def show_foundry_local(summary: Summary) -> Html:
    """The shipped model as Foundry Local answers, next to the artifact itself."""
    answered = summary.foundry_local
    if answered is None:
        return element("p", f"{MISSING} The model was not asked through Foundry Local in this run.")
    shown: tuple[tuple[str, Interval | None, Unit, str], ...] = (
        (describe_figure(summary.quality).label, answered.quality, "share", summary.quality),
        ("valid answers", answered.valid_answers, "share", "valid_answers"),
        ("answers equal to the artifact’s", answered.same_as_artifact, "share", ""),
        ("latency, median", answered.latency_ms, "ms", "latency_ms"),
    )
    rows = [
        [words, figure_cell(theirs, unit), figure_cell(summary.figure(summary.shipped, figure), unit)]
        for words, theirs, unit, figure in shown
    ]
    caption = "Registered, loaded and asked through the Foundry Local SDK, which decodes freely, without the label trie"
    return table(["", "as Foundry Local returns it", f"{summary.shipped} itself"], rows, caption=caption)


def show_proof(links: Sequence[Link]) -> Html:
    """The chain from the model in training to what ships, link by link."""
    if not links:
        return element("p", f"{MISSING} Nothing was compared on the way.")
    rows = [
        [link.stage, link.compared, tick(not link.broken, "holds", "broken"), link.broken or _say_figures(link.figures)]
        for link in links
    ]
    caption = "The same probes at every stage; a link that breaks ends the run, and nothing is published"
    return table(["stage", "what was compared", "", "figures"], rows, caption=caption)


def _say_figures(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in figures.items())


def figure_cell(interval: Interval | None, unit: Unit, best: float | None = None) -> Html:
    """A table's cell: the value, starred where it is the `best`, with its interval below."""
    told: Html | str = write_figure(interval, unit)
    if interval and interval.value == best:
        told = join(element("b", told), " ", element("span", "★", title="best of its row"))
    between = write_range(interval, unit)
    return element("td", told, element("small", between) if between else None)


def tick(good: bool | None, yes: str, no: str) -> Html:
    """A verdict by sign, word and colour."""
    if good is None:
        return element("span", MISSING, class_="muted")
    return element("span", f"✓ {yes}" if good else f"✗ {no}", class_="good" if good else "bad")


def _name(name: str, summary: Summary) -> Html:
    return join(name, element("small", "ships") if name == summary.shipped else None)


def _figure_rows(subjects: Sequence[Subject]) -> Iterator[list[Html]]:
    measured = {name for subject in subjects for name, interval in subject.figures.items() if interval}
    group = ""
    for name in [*FIGURES, *sorted(measured - FIGURES.keys())]:
        figure = describe_figure(name)
        if figure.group == "Quality" and not any(name in subject.figures for subject in subjects):
            continue  # of another kind of task
        if figure.group != group:
            group = figure.group
            yield [element("th", group, scope="rowgroup", colspan=len(subjects) + 1, class_="group")]
        intervals = [subject.figures.get(name) for subject in subjects]
        values = {interval.value for interval in intervals if interval}
        best = None
        if figure.better and len(values) > 1:
            best = max(values) if figure.better == "higher" else min(values)
        yield [
            element("th", figure.label, scope="row"),
            *(figure_cell(interval, figure.unit, best) for interval in intervals),
        ]


def _introduce(subject: Subject) -> Html:
    artifact = join(" · ", element("code", subject.artifact[:12])) if subject.artifact else None
    prompt = element("details", element("summary", "its prompt"), element("pre", subject.prompt))
    return join(element("dt", subject.name), element("dd", subject.what, artifact, prompt if subject.prompt else None))


def _show_gains(summary: Summary) -> Html:
    against: list[tuple[str, Gain | None]] = [("against the teacher", summary)]
    if summary.subject(_TEACHER_INT4):
        against.append(("against the teacher as int4", summary.against_teacher_int4))
    rows = [
        [gain.label, *(figure_cell(getattr(kept, name) if kept else None, gain.unit) for _, kept in against)]
        for name, gain in gains_of(summary.quality).items()
    ]
    caption = "The same messages, threads, label trie and prefix reuse on both sides; each asked with its own prompt"
    return table(["", *(words for words, _ in against)], rows, caption=caption)


def _comparison_row(comparison: Comparison) -> list[Html | str]:
    figure = describe_figure(comparison.metric)
    pair = join(f"{comparison.a} minus {comparison.b}", element("small", figure.label))
    value, between = write_difference(comparison.difference, figure.unit)
    difference = element("td", value, element("small", between))
    if comparison.p_value is None:
        return [pair, difference, MISSING, MISSING]
    p_value = "< 0.001" if comparison.p_value < 0.001 else f"{comparison.p_value:.3f}"
    return [pair, difference, p_value, "a real difference" if comparison.p_value < 0.05 else "could be chance"]
