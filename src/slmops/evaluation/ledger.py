"""Where points were lost between the teacher and what runs, on which messages, and whether the teacher helped at all.

In comes a summary, out go pieces of the page. Knows no store, no model, no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slmops.core.measurement import Interval
from slmops.core.page import Html, element, join, table
from slmops.evaluation.figures import MISSING, describe_figure, write, write_difference
from slmops.evaluation.summary import Comparison, LedgerStep, Summary

_SHOWN = 10


def show_ledger(summary: Summary) -> Html:
    """A row a step on the way: the figure behind it, and by how much it changed on the same messages. Unless students
    were trained to tell them apart, being made smaller and being taught are one: a model that was only cut knows
    nothing, which says nothing of either."""
    unit, label = describe_figure(summary.quality).unit, describe_figure(summary.quality).label
    rows: list[list[Html | str]] = []
    for step in _steps(summary):
        cell: Html | str = MISSING
        if step.difference:
            change, between = write_difference(step.difference, unit)
            cell = element("td", change, element("small", between))
        rows.append([step.after, write(step.figure, unit), cell])
    if not rows:
        return element("p", "It was not compared with what it was made of.")
    rows += _in_its_runtime(summary)
    caption = "Each step against the one before, on the same messages"
    return join(table(["after which step", label, "change"], rows, caption=caption), *_apart(summary))


def _steps(summary: Summary) -> list[LedgerStep]:
    """The steps one after another, where each was compared with the one before; else all of them together, or what
    came behind a student that had no teacher here. The first is what it begins with."""
    compared = {(one.a, one.b): one for one in summary.comparisons}
    learned, quantized = compared.get(("student", "teacher")), compared.get((summary.shipped, "student"))
    last = [(f"quantized: {summary.shipped}", quantized)] if quantized else []
    if summary.ledger and (quantized or summary.shipped == "student"):
        return [*summary.ledger.steps, *_chain(summary, last)[1:]]
    if learned and (quantized or summary.shipped == "student"):
        return _chain(summary, [("made smaller, and taught", learned), *last])
    if whole := compared.get((summary.shipped, "teacher")):
        return _chain(summary, [("all steps together", whole)])
    return _chain(summary, last)


def _chain(summary: Summary, compared: Sequence[tuple[str, Comparison]]) -> list[LedgerStep]:
    """Comparisons, each with the one before, as steps behind what they begin with; none where a figure is missing."""
    names = [compared[0][1].b, *(one.a for _, one in compared)] if compared else []
    figures = [figure.value for name in names if (figure := summary.figure(name, summary.quality))]
    if len(figures) < len(names) or not names:
        return []
    begin = LedgerStep(after=f"the {names[0]}", figure=figures[0])
    steps = zip(compared, figures[1:], strict=True)
    return [begin, *(LedgerStep(after=what, figure=at, difference=one.difference) for (what, one), at in steps)]


def _apart(summary: Summary) -> Iterator[Html]:
    """What of being made smaller, and taught, was whose: by the verdict's students, which were made small alike."""
    unit = describe_figure(summary.quality).unit
    if verdict := summary.verdict:
        for one in verdict.against:
            values = verdict.figures[one.arm]
            mean, (change, between) = write(sum(values) / len(values), unit), write_difference(one.difference, unit)
            told = f"As small, and taught as long with {one.arm}, a student comes to {mean} over several seeds"
            yield element("p", f"{told}: being distilled gave {change} ({between}).")
    if before := summary.figure("untrained", summary.quality):
        yield element("p", f"Before it learned, the student came to {write(before.value, unit)}.", class_="muted")


def _in_its_runtime(summary: Summary) -> list[list[Html | str]]:
    ours, there = summary.figure(summary.shipped, summary.quality), summary.foundry_local
    if ours is None or there is None or there.quality is None:
        return []
    unit = describe_figure(summary.quality).unit
    change, _ = write_difference(Interval.exact(there.quality.value - ours.value), unit)
    return [["in Foundry Local", write(there.quality.value, unit), change]]


def show_slices(summary: Summary) -> Html:
    """Parts of the test, those first where most was lost."""
    agrees = summary.agreement
    told = f"Both answer the same to {write(agrees.value, 'share')} of the messages. " if agrees else ""
    if not summary.slices:
        return element("p", f"{told}There are too few messages for parts." if told else "No teacher was measured.")
    unit = describe_figure(summary.quality).unit
    rows = []
    for part in summary.slices[:_SHOWN]:
        change, between = write_difference(part.difference, unit)
        figures = [part.name, f"{part.rows:,}", write(part.teacher, unit), write(part.student, unit)]
        rows.append([*figures, element("td", change, element("small", between))])
    shown = f"The {len(rows)} of {len(summary.slices)} parts where most was lost"
    caption = f"{describe_figure(summary.quality).label}. {shown}; of few messages much is chance"
    columns = ["part", "messages", "teacher", summary.shipped, "difference"]
    return join(element("p", told), table(columns, rows, caption=caption))


def show_making(summary: Summary) -> Html | None:
    """What it cost, and when that is saved."""
    making = summary.making
    if making is None:
        return None
    told = f"At this machine’s price that is {write(making.usd, '$')}"
    if making.endpoint_usd is not None:
        told += f", {write(making.endpoint_usd, '$')} of it for an endpoint’s answers"
    if making.teacher_usd_per_million is not None:
        told += f"; a million of the teacher’s answers cost {write(making.teacher_usd_per_million, '$')}"
    if making.break_even_answers is not None:
        told += f", saved after {making.break_even_answers:,.0f} answers against the teacher’s"
    return element("p", f"{told}.")


def show_verdict(summary: Summary) -> Html:
    """Whether being distilled gave more than the same training without a teacher, over several seeds."""
    verdict = summary.verdict
    if verdict is None:
        return element("p", "Not judged: ", element("code", "slmops verdict"), " trains the same student without one.")
    unit = describe_figure(verdict.metric).unit
    rows = [
        [arm, ", ".join(write(value, unit) for value in values), write(sum(values) / len(values), unit)]
        for arm, values in verdict.figures.items()
    ]
    told = [
        element("p", element("b", one.word), f" over {one.arm}: {' ('.join(write_difference(one.difference, unit))})")
        for one in verdict.against
    ]
    seeds = f"{verdict.asked} seeds at most, none more once its difference was certain"
    caption = f"Each trained {verdict.steps:,} steps, with {seeds}; {verdict.rows:,} messages"
    return join(*told, table(["student", "a seed each", "mean"], rows, caption=caption))
