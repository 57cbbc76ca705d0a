"""Distillation beside TRL's DistillationTrainer: the same teacher, student and 600 messages of 30 intents, two epochs.

The teacher is the default model, fine-tuned on those messages; the student six of its layers. Ours learns behind a
short prompt, and there are no messages but those 600, of which it learns the gold labels; TRL's learns, as that trainer
does, what the teacher says of what the student writes, behind the prompt that both read. Both are asked within the
labels, all test messages. TRL's own rate of 10⁻⁶ would leave the student as it was, so it learns at `_RATE`, and may
write no more than the longest label.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import headline
from benchmarks.beside_trl import number_format
from benchmarks.peer_distil import Job, run_trl
from benchmarks.projects import artifacts, in_points, read_jsonl, share_right, slmops, write_jsonl
from benchmarks.results import Asked, Measured, Target, of_one
from slmops.core.machine import default_threads
from slmops.core.statistics import paired_difference
from slmops.evaluation.benchmark import Subject, benchmark
from slmops.evaluation.compare import parse_all
from slmops.models.tokenizer import Tokenizer
from slmops.stages.parts import read_part, read_task, read_task_spec
from slmops.tasks.types import Prompt

_EACH, _EPOCHS, _RATE = 20, 2, 1e-4
CONFIG: dict[str, Any] = {
    "name": "beside-trl",
    "task": "classification",
    "data": {"train": "few.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"},
    "teacher": {"model": "smollm2-135m-instruct", "train": {"epochs": 6, "batch_size": 16}},
    "synthesis": {"augment": 0},
    "student": {"from": "teacher", "layers": 6, "train": {"epochs": _EPOCHS}},
    "optimization": [],
}
ROWS = (
    Asked(
        "trl-distil-accuracy",
        "600 messages, two epochs: accuracy of the student, beside that by TRL's DistillationTrainer",
        "share",
        Target("accuracy no lower", "at least", 0),
    ),
    Asked(
        "trl-distil-time",
        "seconds that it took, the teacher's reading and the student's learning",
        "s",
        Target("in ≤ 1/5 of the time", "at most", 0.2),
    ),
)


def measure(place: Path) -> Iterator[tuple[str, Measured]]:
    write_project(place)
    slmops("distill", cwd=place)
    store, made = artifacts(place)
    dataset, student = store.open(made["dataset"]), store.open(made["student"])
    theirs, seconds = _by_trl(place / "trl", store.open(made["teacher"]), store.open(made["pruned"]), dataset)
    ours = sum(store.manifest(made[stage]).made_by.seconds for stage in ("labels", "targets", "student"))
    right = {"ours": _right(student, "short", dataset), "trl": _right(theirs, "full", dataset)}
    apart = paired_difference(right["ours"], right["trl"], share_right, seed=0)
    accuracy = {name: float(rows[:, 0].mean()) for name, rows in right.items()}
    yield "trl-distil-accuracy", Measured(accuracy["ours"], apart, accuracy["trl"], in_points(apart))
    yield "trl-distil-time", of_one(ours, seconds, note=number_format())


def write_project(place: Path) -> None:
    """The headline's rows; of the training rows the first of each intent."""
    headline.write_rows(place)
    few, _ = headline.first_of_each(read_jsonl(place / "train.jsonl"), _EACH)
    write_jsonl(place / "few.jsonl", few)
    (place / "slmops.yaml").write_text(json.dumps(CONFIG))


def _by_trl(place: Path, teacher: Path, student: Path, dataset: Path) -> tuple[Path, float]:
    """The student as TRL taught it, in a folder like ours, and the seconds it took."""
    task, rows = read_task(dataset), read_part(dataset, "train")
    asked = [
        {"prompt": [{"role": message.role, "content": message.content} for message in task.messages(row)]}
        for row in rows
    ]
    tokenizer = Tokenizer(student)
    longest = max(len(tokenizer.encode(task.write(row.gold))) for row in rows) + 1
    options = {"learning_rate": _RATE, "max_completion_length": longest, "gradient_checkpointing": False}
    found = run_trl(Job(str(teacher), str(student), asked, _EPOCHS, number_format(), str(place / "out"), options))
    shutil.rmtree(place / "model", ignore_errors=True)
    shutil.copytree(student, place / "model")
    weights = place / "model" / "model.safetensors"
    weights.unlink()  # the copy of a file that may only be read
    shutil.copyfile(place / "out" / "model.safetensors", weights)
    return place / "model", found.seconds


def _right(model: Path, prompt: Prompt, dataset: Path) -> np.ndarray:
    """(message, [right, 1]) of the test, answered within the labels."""
    task, rows = read_task(dataset), read_part(dataset, "test")
    spec, threads = read_task_spec(dataset), default_threads()
    (done,) = benchmark([Subject("student", model, prompt)], rows, rows[:1], task=spec, threads=threads, timed=0)
    said = parse_all(task, done.texts)
    return np.array([[float(answer == row.gold), 1.0] for answer, row in zip(said, rows, strict=True)])
