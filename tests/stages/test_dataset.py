"""What judges is never learned, and a row that cannot be used is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.core.errors import ModelError
from slmops.stages.project import Project
from slmops.stages.run import open_store, run
from tests.stages.tiny_project import read_rows, write_project, write_rows


def test_unlabelled_messages_of_validation_are_left_out(tmp_path: Path) -> None:
    parts = "train: data/labelled.jsonl, validation: data/validation.jsonl, test: data/test.jsonl"
    path = write_project(tmp_path, data=f"{{{parts}, unlabelled: data/unlabelled.jsonl}}")
    texts = [row["text"] for row in read_rows(tmp_path / "data" / "unlabelled.jsonl")]
    judges = [{"text": f"{text.upper()}!", "label": "track"} for text in texts[:3]]
    write_rows(tmp_path / "data" / "validation.jsonl", judges)
    run(Project.load(path), until="dataset")
    dataset = open_store(Project.load(path)).open("tiny/dataset@latest")
    assert [row["inputs"]["text"] for row in read_rows(dataset / "unlabelled.jsonl")] == texts[3:]  # type: ignore[index]


def test_a_message_too_long_for_the_teacher_is_named(tmp_path: Path) -> None:
    teacher = "{model: 'file:model', train: {method: full, epochs: 1}}"
    path = write_project(tmp_path, teacher=teacher, synthesis="{augment: 0}")
    rows = read_rows(tmp_path / "data" / "unlabelled.jsonl")
    rows[2]["text"] = "where is my parcel " * 3000
    write_rows(tmp_path / "data" / "unlabelled.jsonl", rows)
    with pytest.raises(ModelError, match=r"unlabelled\.jsonl:3: \d+ tokens do not fit the context"):
        run(Project.load(path), until="labels")
