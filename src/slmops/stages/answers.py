"""What the report tells of the answers to the test, row by row: which are wrong and how, where a student lost, how sure
models were.

In come the rows of evidence, out go parts of the summary. Opens no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slmops.core.errors import MissingExtraError
from slmops.core.statistics import Rows, bootstrap
from slmops.data.language import languages_of
from slmops.evaluation import summary as parts
from slmops.evaluation.calibration import bins, confidences
from slmops.evaluation.compare import scores
from slmops.evaluation.slices import slices
from slmops.stages.evidence import CLASSICAL, SOURCES
from slmops.tasks.types import Record, Source, Task


def confusion(rows: list[dict[str, Any]], labels: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    counts = {(gold, answer): 0 for gold in labels for answer in labels}
    for row in rows:
        if row["answer"] is not None:
            counts[row["gold"], row["answer"]] += 1
    return tuple(tuple(counts[gold, answer] for answer in labels) for gold in labels)


def mistakes(
    answers: dict[str, list[dict[str, Any]]], scored: Mapping[str, Rows], shipped: str, task: Task
) -> tuple[parts.Mistake, ...]:
    """Rows whose answer is not wholly right by the figure that decides, the worst first."""
    shown = [name for name in ("teacher", *SOURCES, CLASSICAL) if name in answers and name != "untrained"]
    asked = list(dict.fromkeys([*shown, shipped]))
    rows, by_name = answers[shipped], {name: scores(task.metrics[0], scored[name]) for name in asked}
    right = by_name[shipped]
    wrong = sorted((index for index in range(len(rows)) if right[index] < 1), key=lambda index: right[index])
    return tuple(
        parts.Mistake(
            text=Record("", rows[index]["inputs"], None, Source("")).text,
            gold=task.write(rows[index]["gold"]),
            answers={name: _said(answers[name][index]) for name in asked},
            right=tuple(
                name for name in asked if answers[name][index]["answer"] is not None and by_name[name][index] == 1
            ),
        )
        for index in wrong
    )


def _said(row: dict[str, Any]) -> str | None:
    return None if row["answer"] is None else str(row["text"]).strip()


def against_teacher(
    answers: dict[str, list[dict[str, Any]]],
    scored: Mapping[str, Rows],
    shipped: str,
    task: Task,
    closed: bool,
    seed: int,
) -> dict[str, Any]:
    """How often both say the same, and on which parts of the test more was lost than on others."""
    if "teacher" not in answers or shipped == "teacher":
        return {}
    ours, theirs = answers[shipped], answers["teacher"]
    same = [
        [float(one["answer"] is not None and one["answer"] == other["answer"]), 1.0]
        for one, other in zip(ours, theirs, strict=True)
    ]
    texts = [Record("", row["inputs"], None, Source("")).text for row in ours]
    labels = [task.write(row["gold"]) for row in ours] if closed else []
    try:
        languages = languages_of(texts)
    except MissingExtraError:  # then there are no parts by language
        languages = []
    found = slices(texts, labels, languages, scored["teacher"], scored[shipped], task.metrics[0].reduce, seed)
    return {
        "agreement": bootstrap(same, lambda sums: sums[..., 0] / sums[..., 1], seed=seed, bounds=(0, 1)),
        "slices": tuple(found),
    }


def calibration(
    answers: dict[str, list[dict[str, Any]]], scored: Mapping[str, Rows], shipped: str, task: Task
) -> dict[str, tuple[parts.Bin, ...]]:
    """Of the teacher and what ships: how often they are right where they are how sure."""
    found = {}
    for name in ("teacher", shipped):
        rows = answers.get(name, [])
        if sure := confidences([row["logprob"] for row in rows]):
            found[name] = tuple(bins(sure, scores(task.metrics[0], scored[name])))
    return found


def rows_of(task: Task, answered: list[dict[str, Any]]) -> Rows:
    """Those of the figure that decides."""
    return task.metrics[0].rows([row["answer"] for row in answered], [row["gold"] for row in answered])
