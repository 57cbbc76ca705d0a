"""All 150 intents of CLINC150: what the student keeps, how fast it is, and what a larger set of answers costs.

The headline's recipe, but for its rows: 20 messages of each intent with their label, 20 without, 5 to validate, and
the whole test. The teacher is asked without the instruction, which has 650 tokens, and each text is varied once. For
the trie, the int4 student answers the same messages within the first 10, 30, 75 and all of the labels, in turns; what
it was taught stays the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import headline
from benchmarks.projects import (
    above_classical,
    artifacts,
    figures_of,
    read_jsonl,
    read_report,
    slmops,
    write_jsonl,
)
from benchmarks.results import Asked, Measured
from slmops.core.machine import default_threads
from slmops.core.measurement import Interval
from slmops.core.statistics import paired_latency_reduction
from slmops.evaluation.benchmark import Subject, benchmark
from slmops.stages.parts import read_part, read_task_spec

_LABELLED, _UNLABELLED, _VALIDATED = 20, 20, 5
_SIZES, _FEW, _TURNS, _A_TURN = (10, 30, 75, 150), 30, 4, 40
CONFIG: dict[str, Any] = headline.CONFIG | {
    "name": "all-intents",
    "data": {
        "train": "labelled.jsonl",
        "unlabelled": "unlabelled.jsonl",
        "validation": "validation.jsonl",
        "test": "test.jsonl",
    },
    "teacher": headline.CONFIG["teacher"] | {"prompt": "short", "train": {"epochs": 3, "batch_size": 16}},
    "synthesis": headline.CONFIG["synthesis"] | {"augment": 1},
    "evaluation": {"compare": ["teacher", "int4", "classical"]},
}
ROWS = (
    Asked("all-intents-kept", "150 intents: accuracy of the int4 student against the teacher's", "share"),
    Asked("all-intents-classical", "150 intents: accuracy of the int4 student minus the classical baseline's", "share"),
    Asked("all-intents-latency", "150 intents: end to end, against the fp32 teacher", "ms"),
    Asked(
        "all-intents-trie",
        f"the int4 student's answer within {_SIZES[-1]} labels (peer: the same messages within {_FEW} of them)",
        "ms",
    ),
)


def measure(place: Path) -> Iterator[tuple[str, Measured]]:
    write_project(place)
    slmops("run", cwd=place)
    told = read_report(place)
    figures = figures_of(told)
    student, teacher = figures["int4"], figures["teacher"]
    kept = Interval.from_json(told["accuracy_kept"])
    yield "all-intents-kept", Measured(student["accuracy"].value, kept, teacher["accuracy"].value)
    note = f"{student['accuracy'].value:.3f} against {figures['classical']['accuracy'].value:.3f}"
    apart = above_classical(told)
    yield "all-intents-classical", Measured(apart.value, apart, note=note)
    remaining = Interval.from_json(told["latency_reduction"]).remaining()
    yield "all-intents-latency", Measured(student["latency_ms"].value, remaining, teacher["latency_ms"].value)
    store, made = artifacts(place)
    ms = _within(store.open(made["int4"]), store.open(made["dataset"]))
    less = paired_latency_reduction(ms[_FEW], ms[_SIZES[-1]], seed=0)
    note = ", ".join(f"{size}: {np.median(times):.1f} ms" for size, times in ms.items())
    all_ms, few_ms = (float(np.median(ms[size])) for size in (_SIZES[-1], _FEW))
    yield "all-intents-trie", Measured(all_ms, less.remaining(), few_ms, note=note)


def write_project(place: Path) -> None:
    """The set's own parts and order, without those messages of one that stand in a later one."""
    headline.write_rows(place, domains=None)
    labelled, others = headline.first_of_each(read_jsonl(place / "train.jsonl"), _LABELLED)
    unlabelled, _ = headline.first_of_each(others, _UNLABELLED)
    validated, _ = headline.first_of_each(read_jsonl(place / "validation.jsonl"), _VALIDATED)
    write_jsonl(place / "labelled.jsonl", labelled)
    write_jsonl(place / "unlabelled.jsonl", ({"text": row["text"]} for row in unlabelled))
    write_jsonl(place / "validation.jsonl", validated)
    (place / "slmops.yaml").write_text(json.dumps(CONFIG))


def _within(student: Path, dataset: Path) -> dict[int, list[float]]:
    """Milliseconds of each message's answer, by how many labels were possible."""
    spec, rows = read_task_spec(dataset), read_part(dataset, "test")
    ms: dict[int, list[float]] = {size: [] for size in _SIZES}
    for turn in range(_TURNS):
        asked = rows[turn * _A_TURN : (turn + 1) * _A_TURN]
        for size, times in ms.items():
            labels = spec["options"]["labels"][:size]
            task = spec | {"options": spec["options"] | {"labels": labels}}
            subject = Subject("student", student, "short")
            (done,) = benchmark([subject], asked, rows[-3:], task=task, threads=default_threads())
            times += [answered.latency_ms for answered in done.timed]
    return ms
