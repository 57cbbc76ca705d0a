"""`evidence`: what every model answered on the held-out test, what it cost, and how they compare.

The answers are the artifact; times, memory and everything computed from them stand beside it as measurements.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slmops.core.files import write_whole
from slmops.core.measurement import Interval
from slmops.core.named import code_of, is_named
from slmops.core.pipeline import Estimate, Stage, Work
from slmops.evaluation.benchmark import Subject, benchmark, spread_over
from slmops.evaluation.calibration import calibration_error, confidences
from slmops.evaluation.compare import (
    compare_pairs,
    cost_figures,
    gains,
    parse_all,
    quality_figures,
    scores,
    time_figures,
)
from slmops.evaluation.figures import describe_figure
from slmops.stages.estimates import evidence_minutes
from slmops.stages.parts import read_part, read_task, read_task_spec
from slmops.stages.project import Project
from slmops.tasks import metrics_of
from slmops.tasks.types import Json, Labels, Record

SOURCES = {"teacher": "teacher", "untrained": "pruned", "student": "student"}  # subject → the stage that makes it
CLASSICAL = "classical"


def evidence_stage(project: Project) -> Stage:
    subjects = project.subjects()
    inputs = {"dataset": "dataset"} | {name: SOURCES.get(name, name) for name in subjects if name != CLASSICAL}
    section = {
        "compare": subjects,
        "shipped": project.shipped(),
        "evaluation": project.evaluation.model_dump(exclude={"compare", "verdict"}),
        "prompt": project.student.prompt,
        "code": [code_of(name, "evaluation.metrics") for name in project.evaluation.metrics if is_named(name)],
        "seed": project.seed,
    }
    minutes = evidence_minutes(project, [name for name in subjects if name != CLASSICAL])
    return Stage("evidence", 11, inputs, section, lambda work: _make(project, work), Estimate(minutes, 1), ("threads",))


def _make(project: Project, work: Work) -> None:
    dataset = work.inputs["dataset"]
    task, test = read_task(dataset), read_part(dataset, "test")
    task.metrics = metrics_of(task, project.evaluation.metrics)
    gold, seed = [record.gold for record in test], work.seed
    threads = project.evaluation.bench.threads or work.choices["threads"]
    usd_per_hour = project.evaluation.cost.usd_per_hour
    subjects = [
        Subject(name, folder, project.prompt_of(name)) for name, folder in work.inputs.items() if name != "dataset"
    ]
    done = benchmark(
        subjects,
        test,
        read_part(dataset, "validation"),
        task=read_task_spec(dataset),
        threads=threads,
        timed=project.evaluation.bench.messages,
        report=lambda answered, total: work.progress(0.9 * answered / total, f"{answered}/{total} messages"),
    )
    work.progress(0.9, "intervals and paired tests")
    texts: dict[str, list[str]] = {result.name: list(result.texts) for result in done}
    classical: list[Json] | None = None
    costs = {result.name: cost_figures(result, usd_per_hour, seed) for result in done}
    if CLASSICAL in project.subjects():
        work.progress(0.9, "asking the classical baseline")
        train = read_part(dataset, "train")
        if fitted := task.fit_baseline(train):
            asked = [task.features(record) for record in test]
            classical = list(fitted.answers(asked))
            alone = [asked[place] for place in spread_over(len(asked), project.evaluation.bench.messages)]
            costs[CLASSICAL] = time_figures(fitted.latencies_ms(alone), usd_per_hour, seed)
            costs[CLASSICAL]["model_bytes"] = Interval.exact(float(fitted.size_bytes))
        else:
            classical = task.baseline(train, test)
    predicted = {name: parse_all(task, answers) for name, answers in texts.items()}
    if classical is not None:
        predicted[CLASSICAL], texts[CLASSICAL] = classical, [_text_of(answer) for answer in classical]
    conditions = {"threads": threads, "prompts": len(done[0].timed)}
    for name, parsed in predicted.items():
        for figure, value in quality_figures(task, parsed, gold, seed).items():
            work.measure(figure, "share", value, subject=name)
    for result in done:
        sure = confidences(result.logprobs)
        if sure and isinstance(task.grammar, Labels):  # of free answers, probabilities say little
            right = scores(task.metrics[0], task.metrics[0].rows(predicted[result.name], gold))
            work.measure("calibration_error", "share", calibration_error(sure, right, seed), subject=result.name)
    for name, figures in costs.items():
        told = conditions if name != CLASSICAL else conditions | {"threads": 1}
        for figure, value in figures.items():
            work.measure(figure, describe_figure(figure).unit, value, subject=name, **told)
    by_name = {result.name: result for result in done}
    shipped = project.shipped()
    for against in ("teacher", "teacher_int4"):
        if against in by_name and shipped in by_name:
            for figure, value in gains(task, by_name[shipped], by_name[against], predicted, gold, seed).items():
                work.measure(figure, "share", value, subject=shipped, against=against)
    others = [name for name in ("teacher", CLASSICAL, "untrained", "student") if name in predicted and name != shipped]
    pairs = [(shipped, name) for name in others]
    pairs += [("student", "teacher")] if {"student", "teacher"} <= predicted.keys() else []  # a step on the way
    for pair in compare_pairs(task, list(dict.fromkeys(pairs)), predicted, gold, seed):
        more = {"against": pair.b, "metric": pair.metric, "p_value": pair.p_value}
        work.measure("difference", "share", pair.difference, subject=pair.a, **more)
    logprobs = {result.name: result.logprobs for result in done}
    for name, answers in texts.items():
        _write_answers(_answers_of(work.out, name), test, answers, predicted[name], logprobs.get(name, ()))


def _text_of(answer: Json) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _write_answers(
    path: Path, rows: list[Record], texts: list[str], answers: list[Json | None], logprobs: Sequence[float | None]
) -> None:
    path.parent.mkdir(exist_ok=True)
    lines: list[dict[str, Any]] = [
        {"id": row.id, "inputs": dict(row.inputs), "gold": row.gold, "text": text, "answer": answer}
        for row, text, answer in zip(rows, texts, answers, strict=True)
    ]
    for line, logprob in zip(lines, logprobs, strict=False):
        line["logprob"] = logprob
    write_whole(path, "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines))


def has_answers(evidence: Path, subject: str) -> bool:
    """Whether `subject` was asked; a task may have no classical baseline."""
    return _answers_of(evidence, subject).is_file()


def read_answers(evidence: Path, subject: str) -> list[dict[str, Any]]:
    """The rows of one subject: id, inputs, gold, text, answer (None where invalid), logprob of a model's answer."""
    return [json.loads(line) for line in _answers_of(evidence, subject).read_text("utf-8").split("\n") if line]


def _answers_of(evidence: Path, subject: str) -> Path:
    return evidence / "answers" / f"{subject}.jsonl"


def gate_figures(measurements: dict[tuple[str, str, str], Interval], shipped: str) -> dict[str, Interval]:
    """What gates may ask of: the shipped model's figures, and its gains against the teacher."""
    figures = {
        name: value for (subject, name, against), value in measurements.items() if subject == shipped and not against
    }
    return figures | {
        name: value
        for (subject, name, against), value in measurements.items()
        if subject == shipped and against == "teacher" and name != "difference"
    }
