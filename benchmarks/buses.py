"""Extraction by a student of two fifths of its teacher's parameters: DSTC8's buses, entity F1.

The teacher is the default model, fine-tuned on half of the training rows; the student is cut from it, learns its tokens
on those rows and on its answers to the others, and ships as int4. All test rows are judged; none is learned. It keeps
all layers and a quarter of the neurons in each, and all learn: on validation rows its loss came to 0.06 in four epochs,
that of the thirteen lower layers to 0.24. A slot's value is copied, which layers do together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from benchmarks.projects import artifacts, figures_of, read_report, slmops, write_jsonl
from benchmarks.public import read_public
from benchmarks.results import Asked, Measured, Target, of_one
from slmops.core.measurement import Interval
from slmops.data.grams import normalise
from slmops.models.folder import weight_files

_LABELLED = 1000
CONFIG: dict[str, Any] = {
    "name": "buses",
    "task": {"type": "extraction", "schema": "from-data", "max_tokens": 96},
    "data": {"train": "labelled.jsonl", "unlabelled": "unlabelled.jsonl", "test": "test.jsonl"},
    "teacher": {"model": "smollm2-135m-instruct", "train": {"epochs": 2, "batch_size": 16, "learning_rate": 1.5e-3}},
    "student": {"from": "teacher", "units": 384, "vocabulary": 8192, "train": {"epochs": 4, "upper_layers": 1}},
    "distillation": {"match": "tokens"},
    "optimization": "int4",
    "evaluation": {"compare": ["teacher", "student", "int4"], "bench": {"messages": 20}},
}
ROWS = (
    Asked(
        "buses-kept",
        "DSTC8 buses: entity F1 of the int4 student against the teacher's",
        "share",
        Target("≥ 97 % kept", "at least", 0.97),
    ),
    Asked(
        "buses-parameters",
        "its parameters against the teacher's",
        "",
        Target("a student of ≤ 40 % of the parameters", "at most", 0.4),
    ),
)


def measure(place: Path) -> Iterator[tuple[str, Measured]]:
    write_project(place)
    slmops("run", cwd=place)
    told = read_report(place)
    figures = figures_of(told)
    student, teacher = (figures[name]["entity_f1"].value for name in ("int4", "teacher"))
    note = f"before int4 {figures['student']['entity_f1'].value:.3f}"
    yield "buses-kept", Measured(student, Interval.from_json(told["quality_kept"]), teacher, note=note)
    store, made = artifacts(place)
    yield "buses-parameters", of_one(*(float(_parameters(store.open(made[name]))) for name in ("student", "teacher")))


def write_project(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    test, asked = read_public("dstc8_buses", "test"), read_public("dstc8_buses", "train")
    judged = {normalise(row["text"]) for row in test}
    train = [row for row in asked if normalise(row["text"]) not in judged]
    train = [train[at] for at in np.random.default_rng(0).permutation(len(train))]
    others = [{"text": row["text"]} for row in train[_LABELLED:]]
    for name, rows in (("labelled", train[:_LABELLED]), ("unlabelled", others), ("test", test)):
        write_jsonl(place / f"{name}.jsonl", rows)
    (place / "slmops.yaml").write_text(json.dumps(CONFIG))


def _parameters(model: Path) -> int:
    count = 0
    for file in weight_files(model):
        with safe_open(file, "numpy") as weights:
            count += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return count
