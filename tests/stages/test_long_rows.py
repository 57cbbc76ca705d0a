"""Rows longer than a model's context, where the project says that they are left out, or cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.core.errors import DataError
from slmops.data.records import read_records
from slmops.evaluation.worker import Session
from slmops.stages.parts import read_task_spec
from slmops.stages.project import Project
from slmops.stages.run import open_store, run
from tests.stages.tiny_project import read_rows, write_project, write_rows
from tests.tiny import write_model

_LONG = "where is my parcel " * 300


def lengthen(folder: Path, name: str, place: int) -> None:
    """Makes a row of a file longer than the model's context of 512 tokens, unlike any other row."""
    path = folder / "data" / f"{name}.jsonl"
    rows = read_rows(path)
    rows[place]["text"] = f"{name} {_LONG}"
    write_rows(path, rows)


def test_long_rows_end_no_run_that_may_leave_them_out_or_cut_them(tmp_path: Path) -> None:
    train = "train: {method: full, epochs: 1, noise: 0, too_long: "
    parts = "train: data/labelled.jsonl, validation: data/validation.jsonl, test: data/test.jsonl"
    path = write_project(
        tmp_path,
        distillation="{match: tokens}",
        data=f"{{{parts}, unlabelled: data/unlabelled.jsonl}}",
        teacher=f"{{model: 'file:model', {train}cut}}}}",
        synthesis="{accept: {confidence: 0}, augment: 0}",
        student=f"{{from: teacher, layers: 1, keep: greedy, {train}drop}}}}",
        optimization="[]",
        evaluation="{compare: [student]}",
    )
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 2}
    write_model(tmp_path / "model", "gpt2", ("<|im_start|>", "<|im_end|>"), **sizes)  # which has no further positions
    rows = read_rows(tmp_path / "data" / "labelled.jsonl")
    write_rows(tmp_path / "data" / "validation.jsonl", rows[:6])
    write_rows(tmp_path / "data" / "labelled.jsonl", rows[6:])
    for name in ("labelled", "validation", "unlabelled"):
        lengthen(tmp_path, name, 0)
    project, notes = Project.load(path), list[str]()
    for until in ("certificate", "student"):
        run(project, until=until, progress=lambda stage, share, note: notes.append(note))
    for part, done in (("train", "too_long: cut"), ("targets", "teacher cannot read them, left out")):
        told = f"warning: 1 rows of {part} are longer than the model's context, {done}: 'labelled where is"
        assert any(note.startswith(told) for note in notes)
    assert any("1 rows of validation are longer than the model's context, too_long: drop" in note for note in notes)
    store = open_store(project)
    labels = store.open("tiny/labels@latest")
    answers = [record.answers[-1].rejected for record in read_records(labels / "labels.jsonl")]
    assert answers == ["longer than the teacher's context", *[None] * 19]
    assert len(read_records(labels / "validation.jsonl")) == 5
    student = store.open("tiny/student@latest")
    assert len(read_rows(student / "probes.jsonl")) == 24
    warmup = [
        {"id": row["text"], "inputs": {"text": row["text"]}, "place": ""}
        for row in read_rows(tmp_path / "data/validation.jsonl")
    ]
    spec = {
        "folder": student,
        "threads": 1,
        "prompt": "short",
        "task": read_task_spec(store.open("tiny/dataset@latest")),
    }
    assert Session(spec | {"warmup": warmup}).loaded["load_s"] > 0


def test_a_test_message_that_no_model_could_answer_is_told_before_anything_is_learned(tmp_path: Path) -> None:
    path = write_project(tmp_path, student="{from: teacher, layers: 1, train: {epochs: 1, too_long: drop}}")
    for place in range(4):
        lengthen(tmp_path, "test", place)
    told = r"test\.jsonl:1, test\.jsonl:2, test\.jsonl:3 and 1 more: with its answer it does not fit the student's"
    with pytest.raises(DataError, match=told):
        run(Project.load(path))
    assert [entry.name for entry in open_store(Project.load(path)).entries()] == ["tiny/dataset"]
