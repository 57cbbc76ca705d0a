"""Ten labels an intent: the student with its teacher, the same student without, and TF-IDF, all from the same labels.

The headline's 30 intents; the teacher, too, sees only those labels, and answers the other texts. The student without a
teacher learns the labelled rows in as many steps. Rows are taken in the set's own order; nothing is chosen by the test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import headline
from benchmarks.projects import artifacts, read_jsonl, right_answers, share_right, slmops, write_jsonl
from benchmarks.results import Asked, Measured, Target, low_end
from slmops.core.statistics import bootstrap, paired_difference

_LABELS = 10
_EPOCHS = 1
CONFIG: dict[str, Any] = headline.CONFIG | {
    "name": "few-labels",
    "data": {"train": "labelled.jsonl", "unlabelled": "unlabelled.jsonl", "test": "test.jsonl"},
    "teacher": {"model": "smollm2-135m-instruct", "train": {"epochs": 6, "batch_size": 16}},
    "student": headline.CONFIG["student"] | {"train": {"epochs": _EPOCHS}},
    "evaluation": {"compare": ["teacher", "int4", "classical"]},
}
_ABOVE = Target("higher than both, intervals of the differences above 0", "above", 0)
ROWS = (
    Asked("few-labels-alone", "10 labels an intent: accuracy above that without a teacher, low end", "", _ABOVE),
    Asked("few-labels-classical", "10 labels an intent: accuracy above TF-IDF's, low end", "", _ABOVE),
)


def measure(place: Path) -> Iterator[tuple[str, Measured]]:
    """Both students stand in one store; the variant without a teacher has as many steps as the other."""
    write_project(place, {})
    slmops("run", cwd=place)
    store, made = artifacts(place)
    rows = {one.subject: one.value.value for one in store.manifest(made["targets"]).measurements if one.name == "rows"}
    gold = sum(1 for _ in (store.open(made["dataset"]) / "train.jsonl").open())
    longer = {"epochs": sum(rows.values()) / gold * _EPOCHS}
    student = {"from": None, "model": CONFIG["teacher"]["model"], "train": longer}
    alone = {"teacher": None, "student": student, "evaluation": {"compare": ["int4"]}}
    write_project(place, {"variants": {"alone": alone}})
    slmops("run", "--variant", "alone", cwd=place)
    _, without = artifacts(place, "--variant", "alone")
    right = {name: right_answers(store, made, name) for name in ("teacher", "int4", "classical")}
    right["alone"] = right_answers(store, without, "int4")
    accuracy = {name: bootstrap(rows, share_right, seed=0) for name, rows in right.items()}
    told = ", ".join(f"{name} {100 * one.value:.1f} %" for name, one in accuracy.items())
    for id, other in (("few-labels-alone", "alone"), ("few-labels-classical", "classical")):
        apart = paired_difference(right["int4"], right[other], share_right, seed=0)
        yield id, Measured(apart.value, low_end(apart), note=told)


def write_project(place: Path, more: dict[str, Any]) -> None:
    """The headline's rows; of the training rows the first ten of each intent with their label."""
    headline.write_rows(place)
    labelled, others = headline.first_of_each(read_jsonl(place / "train.jsonl"), _LABELS)
    write_jsonl(place / "labelled.jsonl", labelled)
    write_jsonl(place / "unlabelled.jsonl", ({"text": row["text"]} for row in others))
    (place / "slmops.yaml").write_text(json.dumps(CONFIG | more))
