"""What judges is never learned, and a row that cannot be used is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.core.errors import ConfigError, DataError
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


def test_a_validation_file_that_shares_messages_with_the_test_is_refused(tmp_path: Path) -> None:
    parts = "train: data/labelled.jsonl, validation: data/test.jsonl, test: data/test.jsonl"
    with pytest.raises(DataError, match="24 messages in both, expected none"):
        run(Project.load(write_project(tmp_path, data=f"{{{parts}}}", synthesis=None)), until="dataset")


def test_an_unlabelled_message_too_long_for_the_teacher_is_named_and_left_out(tmp_path: Path) -> None:
    teacher = "{model: 'file:model', train: {method: full, epochs: 1}}"
    path = write_project(tmp_path, teacher=teacher, synthesis="{augment: 0}")
    rows = read_rows(tmp_path / "data" / "unlabelled.jsonl")
    rows[2]["text"] = "where is my parcel " * 3000
    write_rows(tmp_path / "data" / "unlabelled.jsonl", rows)
    notes: list[str] = []
    run(Project.load(path), until="labels", progress=lambda stage, share, note: notes.append(note))
    told = (
        "warning: 1 rows of unlabelled are longer than the model's context, teacher cannot read them, left out: 'wher"
    )
    assert any(note.startswith(told) for note in notes)


def test_a_row_that_the_schema_of_train_does_not_allow_says_how_to_allow_it(tmp_path: Path) -> None:
    path = write_project(tmp_path, task="extraction")
    for name, answer in (("labelled", {"city": "Rome"}), ("test", {"city": "Rome", "day": "Monday"})):
        rows = [{"text": f"{name} {n}", "answer": answer} for n in range(12)]
        write_rows(tmp_path / "data" / f"{name}.jsonl", rows)
    with pytest.raises(DataError, match=r"test\.jsonl:1.*'day' was unexpected.*write task\.schema: FILE"):
        run(Project.load(path), until="dataset")


@pytest.mark.parametrize("gate", ["min_chrf: 0.5", "keep_rougel: 0.9"])
def test_a_gate_on_what_the_task_does_not_measure_is_told_before_anything_is_learned(tmp_path: Path, gate: str) -> None:
    project = Project.load(write_project(tmp_path, gates=f"{{{gate}}}", evaluation=None))
    with pytest.raises(
        ConfigError, match=r"gates\.\w+: classification does not measure it — measured are: accuracy, cal"
    ):
        run(project)
    assert [entry.name for entry in open_store(project).entries()] == ["tiny/dataset"]
