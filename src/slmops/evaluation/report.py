"""The report of a run: one HTML page that a manager reads in ten seconds and an engineer can check.

In comes a summary, out goes the page as text. Best news and worst in the same size; what was not measured is a dash.
Knows no store, no model, no file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from slmops.core.page import Html, element, join, page, section, table
from slmops.evaluation.figures import (
    Gained,
    describe_figure,
    gains_of,
    write,
    write_duration,
    write_figure,
    write_level,
    write_range,
    write_times,
)
from slmops.evaluation.ledger import show_ledger, show_making, show_slices, show_verdict
from slmops.evaluation.mistakes import list_mistakes, show_confusion
from slmops.evaluation.plots import TEACHER, plot_certainty, plot_curve
from slmops.evaluation.search_plots import plot_importance, plot_trials
from slmops.evaluation.side_by_side import (
    figure_cell,
    show_comparisons,
    show_foundry_local,
    show_plots,
    show_proof,
    show_published,
    show_subjects,
    tick,
)
from slmops.evaluation.summary import Data, Gate, Step, Summary

_CLASSICAL = "classical"
_QUALITY = {
    "accuracy": "share of test messages whose whole answer is right; an invalid answer counts as wrong",
    "macro_f1": "mean of the labels’ F1: every label counts the same, however rare",
    "entity_f1": "F1 over all facts of all answers together; a value in its place is a fact, so is an object in a list",
    "task_success": "share of last replies that contain what task.success asks for",
    "tests_passed": "share of answers that run, and pass the tests, in a process of their own with limits",
    "exact_match": "share of answers that are a right one but for case, punctuation and articles",
    "token_f1": "F1 of the words of answer and gold, the best of several golds",
    "rougel": "longest common subsequence of words with the gold, F1 with stemming, the best of several golds",
    "chrf": "character 1- to 6-grams in common with the gold, mean of the answers",
    "bleu": "word 1- to 4-grams in common with the gold, over all answers together",
    "names_kept": "share of the gold’s names and numbers that the answer has",
    "calibration_error": "how far the probability of an answer is from the share right of answers so probable, in ten "
    "bins, weighed by their messages (expected calibration error)",
    "length_match": "shorter over longer of the answer’s and the gold’s length in words",
}


def render(summary: Summary) -> str:
    """The whole page."""
    parts = {
        "compared": ("Side by side", show_subjects(summary)),
        "gates": ("Gates", _list_gates(summary.gates)),
        "proof": ("Is what ships what was trained?", show_proof(summary.proof)),
        "ledger": ("Where points were lost", show_ledger(summary)),
        "slices": ("On which messages it lost", show_slices(summary)),
        "certainty": ("Is it right as often as it is sure?", _show_certainty(summary)),
        "verdict": ("Did the teacher help?", show_verdict(summary)),
        "chance": ("Could it be chance?", show_comparisons(summary.comparisons)),
        "confusion": ("What it confuses", show_confusion(summary.confusion, summary.labels)),
        "mistakes": ("What it gets wrong", list_mistakes(summary)),
        "published": ("Figures the field quotes", show_published(summary)),
        "foundry-local": ("In Foundry Local", show_foundry_local(summary)),
        "asked": ("What was asked", _show_asked(summary)),
        "training": ("Training", _show_curves(summary)),
        "lineage": ("Where it comes from", _draw_lineage(summary.lineage, show_making(summary))),
        "method": ("How each figure was measured", _explain(summary)),
        "machine": ("Machine and versions", _describe_making(summary)),
    }
    contents = element("nav", [element("a", title, href=f"#{name}") for name, (title, _) in parts.items()])
    sections = [section(title, content, name=name) for name, (title, content) in parts.items()]
    return page(f"{summary.name} — slmops report", _head(summary), contents, sections, style=_STYLE)


def _head(summary: Summary) -> Html:
    data, task = summary.data, summary.task.replace("-", " ")
    choices = f" into {len(summary.labels)} labels" if summary.labels else ""
    learned = f"learned from {data.train:,} labelled messages"
    if data.labelled_by_teacher:
        learned += f" and {data.labelled_by_teacher:,} that its teacher labelled"
    return element(
        "header",
        element("p", f"{summary.name} · {summary.made.date[:10]}", class_="muted"),
        element("h1", _say_finding(summary)),
        _say_gates(summary.gates),
        element(
            "p",
            f"{task.capitalize()}{choices}, {learned}, tested on {data.test:,} never seen.",
        ),
        element("ul", [_card(summary, name, gain) for name, gain in gains_of(summary.quality).items()], class_="cards"),
        element("p", _say_small_print(summary), class_="muted"),
        _say_alternatives(summary),
    )


def _say_finding(summary: Summary) -> str:
    label = describe_figure(summary.quality).label
    if summary.quality_kept is None:
        ours = summary.figure(summary.shipped, summary.quality)
        return f"{summary.shipped}: {label} {write(ours.value, 'share')}" if ours else summary.name
    told = [f"{summary.shipped} keeps {write(summary.quality_kept.value, 'share')} of the teacher’s {label}"]
    for saved, words in ((summary.latency_reduction, "the time"), (summary.model_bytes_reduction, "the size")):
        if saved is not None and saved.value < 1:
            told.append(f"{write_times(1 - saved.value)} {words}")
    return told[0] if len(told) == 1 else f"{told[0]} at {' and '.join(told[1:])}"


def _say_gates(gates: Sequence[Gate]) -> Html:
    failed = sum(not gate.passed for gate in gates)
    if not gates:
        return element("p", "No gates were set", class_="badge")
    if failed:
        return element("p", f"✗ {failed} of {len(gates)} gates failed: nothing is published", class_="badge bad")
    return element("p", f"✓ {len(gates)} of {len(gates)} gates passed", class_="badge good")


def _card(summary: Summary, name: str, gain: Gained) -> Html:
    interval = getattr(summary, name)
    before, after = (summary.figure(subject, gain.figure) for subject in (TEACHER, summary.shipped))
    unit = describe_figure(gain.figure).unit
    return element(
        "li",
        element("strong", write_figure(interval, gain.unit)),
        element("span", gain.label),
        element("small", f"{gain.beside}{write_figure(before, unit)} → {write_figure(after, unit)}"),
        element("small", write_range(interval, gain.unit)),
    )


def _say_small_print(summary: Summary) -> str:
    kept, saved = summary.quality_kept, summary.latency_reduction
    told = f"Small: the teacher’s figure → that of {summary.shipped}"
    if not kept:
        return f"{told}."
    told += f"; {write_level(kept)} interval over {kept.n:,} messages"
    return f"{told}, of time over {saved.n:,} of them." if saved and saved.n != kept.n else f"{told}."


def _say_alternatives(summary: Summary) -> Html | None:
    """What a user could have had instead: a classical model, the teacher itself quantized."""
    told = []
    classical, ours = (summary.figure(name, summary.quality) for name in (_CLASSICAL, summary.shipped))
    if classical and ours:
        points = 100 * (ours.value - classical.value)
        label, above = describe_figure(summary.quality).label, "above" if points >= 0 else "below"
        told.append(f"is {abs(points):.1f} points of {label} {above} the classical baseline")
    saved = summary.against_teacher_int4.latency_reduction if summary.against_teacher_int4 else None
    if saved and saved.value < 1:
        told.append(f"takes {write_times(1 - saved.value)} the time of the teacher as int4")
    return element("p", f"For comparison: {summary.shipped} {' and '.join(told)}.") if told else None


def _show_asked(summary: Summary) -> Html:
    data = summary.data
    counts = {
        "train": data.train,
        "validation": data.validation,
        "test, never learned from": data.test,
        "unlabelled": data.unlabelled,
        "of these labelled by the teacher": data.labelled_by_teacher,
    }
    told = [(words, f"{count:,}") for words, count in counts.items()]
    told += [(f"not used: {reason}", f"{count:,}") for reason, count in data.rejected.items()]
    labels = f"{len(summary.labels)} labels: {', '.join(summary.labels)}." if summary.labels else None
    return join(
        element("p", f"Task: {summary.task}. ", labels),
        table(["messages", ""], told, caption="Data", class_="counts"),
        _show_opinions(data),
        element("h3", "slmops.yaml"),
        element("pre", summary.config),
    )


def _show_opinions(data: Data) -> Html | None:
    """Whom the student learned from where nobody knew the label; on validation rows, which none of them learned."""
    if not data.opinions:
        return None
    rows = [[name, figure_cell(accuracy, "share")] for name, accuracy in data.opinions.items()]
    return table(["learned from", "accuracy"], rows, caption=f"Opinions, on {data.validation:,} validation messages")


def _show_certainty(summary: Summary) -> Html:
    if not summary.calibration:
        return element("p", "Answers are no closed set, so that their probabilities say little.")
    plots = [plot_certainty(name, bins, summary.shipped) for name, bins in summary.calibration.items()]
    told = "Below the line a model is surer than it is right. The larger a mark, the more messages."
    return join(show_plots(plots), element("p", told, class_="muted"))


def _show_curves(summary: Summary) -> Html:
    if not summary.curves:
        return element("p", "Nothing was trained.")
    curves = [plot_curve(name, points) for name, points in summary.curves.items()]
    searches = [
        plot(name, found) for name, found in summary.searches.items() for plot in (plot_trials, plot_importance)
    ]
    took = [element("p", f"{stage} {words}.") for stage, words in summary.trainings.items()]
    wrong = [
        element("li", element("b", f"{stage} · {fault.name}"), f": {fault.shown_by}. Remedy: {fault.remedy}.")
        for stage, faults in summary.faults.items()
        for fault in faults
    ]
    return join(show_plots([*curves, *searches]), *took, *([element("ul", *wrong)] if wrong else []))


def _draw_lineage(steps: Sequence[Step], making: Html | None) -> Html:
    if not steps:
        return element("p", "Not recorded.")
    stage_of = {step.id: step.stage for step in steps}
    links = [
        element(
            "li",
            element("b", step.stage),
            element("span", _say_parents(step, stage_of)),
            *(element("small", f"{base}, from {origin}") for base, origin in step.base_models.items()),
            element("small", f"{step.kind} · {write_duration(step.seconds)} · {write(step.size_bytes, 'bytes')} · "),
            element("code", step.id[:12]),
        )
        for step in steps
    ]
    total = write_duration(sum(step.seconds for step in steps))
    return join(
        element("p", f"Every step’s result is kept under the hash of its content. All steps together took {total}."),
        making,
        element("ol", links, class_="chain"),
    )


def _say_parents(step: Step, stage_of: Mapping[str, str]) -> str:
    if not step.parents:
        return "from the project’s files"
    names = [(role, stage_of.get(parent, parent[:12])) for role, parent in step.parents.items()]
    return f"from {', '.join(stage if stage == role else f'{role} {stage}' for role, stage in names)}"


def _list_gates(gates: Sequence[Gate]) -> Html:
    if not gates:
        return element("p", "None were set. `gates:` in slmops.yaml holds a release to what you need.")
    verdicts = [element("li", tick(gate.passed, "passed", "failed"), gate.sentence) for gate in gates]
    return element("ul", verdicts, class_="plain")


def _explain(summary: Summary) -> Html:
    told = {
        "taking turns": "each model in a fresh process, after a warm-up, in turns of a few messages, so that whatever "
        "slows the machine slows all alike",
        "latency": "from the message to its last token, one at a time: the same messages, threads, label trie and "
        "prefix reuse on both sides",
        "time per token": "free writing after the first token, without the label trie",
        "answers per second": "answers over the time they took, one at a time",
        "memory": "most resident memory of the process, libraries included; added by the model: without them",
        "size": "model files: weights alone; whole folder: with tokenizer and configuration",
        "processor": "processor time over wall time while answering",
        "cost": "usd_per_hour / answers per hour × 10⁶",
        **_explain_quality(summary),
        "intervals": "bootstrap over test messages; models compared are drawn on the same messages",
        "p": "how likely so uneven a result is between two equally good models, tested on the same messages",
    }
    return element("dl", [join(element("dt", words), element("dd", how)) for words, how in told.items()])


def _explain_quality(summary: Summary) -> dict[str, str]:
    measured = {name for subject in summary.subjects for name, figure in subject.figures.items() if figure}
    return {describe_figure(name).label: how for name, how in _QUALITY.items() if name in measured}


def _describe_making(summary: Summary) -> Html:
    made = summary.made
    run = {"command": made.command, "run": made.run, "date": made.date, "seed": made.seed}
    groups = {"Run": run, "Chosen": made.choices, "Machine": made.machine, "Versions": made.versions}
    shown = [
        element("div", element("h3", title), element("dl", [_tell(key, value) for key, value in group.items()]))
        for title, group in groups.items()
        if group
    ]
    return element("div", shown, class_="making")


def _tell(key: str, value: object) -> Html:
    match value:
        case str():
            told = value
        case list() | tuple():
            told = ", ".join(map(str, value))
        case _:
            told = json.dumps(value, ensure_ascii=False)
    return join(element("dt", key.replace("_mb", " (MB)").replace("_", " ")), element("dd", told))


_STYLE = """
header h1 { max-width: 52rem }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin-top: 1.6rem; font-size: .9rem }
.good { color: var(--good) } .bad { color: var(--bad) }
.badge { display: inline-block; border: 1.5px solid var(--line); border-radius: 99px; padding: .15rem .9rem;
  font-weight: 600 }
.badge.good, .badge.bad { border-color: currentColor }
.cards, .plain, .chain { list-style: none; padding: 0; margin: 1rem 0 }
.cards { display: grid; grid-template-columns: repeat(4, 1fr); gap: .8rem }
.cards li { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: .9rem 1rem }
.cards strong { display: block; font-size: clamp(1.5rem, 3.2vw, 2.1rem); line-height: 1.15; letter-spacing: -.02em;
  white-space: nowrap }
.cards span { display: block; margin: .2rem 0 .5rem; line-height: 1.3 }
.cards small { display: block }
.plots { display: grid; grid-template-columns: repeat(2, 1fr); gap: 1.8rem 2.4rem; margin: 1.2rem 0 2rem }
.plots svg { max-width: 27rem }
.subjects th, .subjects td { min-width: 5.2rem } td small, th small { display: block; font-weight: 400 }
.subjects small { white-space: nowrap }
.subjects th[scope=row] { position: sticky; left: 0; background: var(--paper); min-width: 8rem }
.group { padding-top: 1.1rem; font-size: .85rem; color: var(--muted); font-weight: 600 }
.counts { min-width: 0 } .counts td { text-align: right; padding-left: 1rem }
.confusion { min-width: 0; font-size: .9rem }
.confusion th, .confusion td { padding: 0; border: 1px solid var(--line); text-align: center; vertical-align: middle;
  height: 1.9rem; min-width: 1.9rem }
.confusion td { color: var(--muted) }
.confusion th[scope=row] { text-align: left; padding: 0 .6rem 0 .3rem; white-space: nowrap }
.confusion .number { display: inline-block; min-width: 1.5em; text-align: right; color: var(--muted) }
.confusion .right[style] { background: rgb(0 114 178 / calc(.1 + .9 * var(--share))) }
.confusion .wrong[style] { background: rgb(213 94 0 / calc(.2 + .8 * var(--share))); font-weight: 600 }
.confusion td[style] { color: var(--ink) } .confusion td.strong { color: #fff }
.confusion .right { outline: 1.5px solid var(--ink); outline-offset: -1.5px }
.confusion .found { padding: 0 .5rem; text-align: right }
.mistakes { padding-left: 2.2rem } .mistakes li { padding: .45rem 0; border-bottom: 1px solid var(--line) }
.mistakes li::marker { color: var(--muted) }
.mistakes bdi { display: block } .mistakes small span { display: inline-block; margin-right: 1.2rem }
.mistakes b { font-weight: 600; color: var(--ink) }
.chain li { position: relative; padding: 0 0 1rem 1.7rem }
.chain li::before { content: ""; position: absolute; left: .3rem; top: .4rem; width: .75rem; height: .75rem;
  border-radius: 50%; border: 2px solid var(--accent); background: var(--paper); z-index: 1 }
.chain li:not(:last-child)::after { content: ""; position: absolute; left: .75rem; top: .6rem; bottom: -.4rem;
  border-left: 2px solid var(--line) }
.chain span { margin-left: .6rem } .chain small::before { content: ""; display: block }
.chain code { color: var(--muted) }
.plain span { display: inline-block; min-width: 6rem }
.making { display: grid; grid-template-columns: repeat(2, 1fr); gap: 0 2.4rem }
@media (max-width: 52rem) {
  .cards { grid-template-columns: repeat(2, 1fr) } .plots, .making { grid-template-columns: 1fr } }
@media (max-width: 34rem) {
  .cards { gap: .5rem } .cards li { padding: .7rem .75rem }
  .subjects th[scope=row] { min-width: 6.5rem; max-width: 6.5rem }
  .confusion { font-size: .64rem } .confusion th, .confusion td { height: 1.2rem; min-width: 1rem }
  .confusion th[scope=row] { padding: 0 .2rem 0 0 } .confusion .found { display: none } }
@media print {
  .cards { grid-template-columns: repeat(4, 1fr) } header h1 { font-size: 1.7rem }
  .plots, .making { grid-template-columns: 1fr 1fr; gap: 1rem 1.4rem } .plots svg { max-width: 21rem }
  nav { display: none } tr:has(.group) { break-after: avoid } table { break-inside: avoid }
  .subjects { font-size: 8.5pt } .subjects th, .subjects td { min-width: 0; padding-right: .3rem }
  .confusion { font-size: 8pt } }
"""
