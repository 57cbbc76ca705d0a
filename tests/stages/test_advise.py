"""Advice in words: each for a project that calls for it, and none that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.stages import advise as module
from slmops.stages.advise import advise
from slmops.stages.project import Project
from tests.stages.tiny_project import write_project, write_rows

ROWS = [{"text": f"message {number}", "label": f"label_{number % 3}"} for number in range(600)]
FREE = {"teacher": None, "synthesis": None, "optimization": "[]", "evaluation": "{compare: [student]}"}


def advised(folder: Path, train: int = 600, test: int = 300, unlabelled: int = 400, **changes: str | None) -> list[str]:
    path = write_project(folder, **changes)
    for name, count in (("labelled", train), ("test", test), ("unlabelled", unlabelled)):
        write_rows(folder / "data" / f"{name}.jsonl", ROWS[:count])
    return [advice.what for advice in advise(Project.load(path))]


def test_a_sound_project_is_told_that_it_can_train_as_it_stands(tmp_path: Path) -> None:
    train = "{from: teacher, layers: 1, train: {epochs: 3}}"
    found = advised(tmp_path, student=train)
    assert found == ["train the teacher as it stands (full)", "train the student as it stands (full)"]


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("judge by 200 rows or more", {"test": 100}),
        ("add rows of rare labels", {"train": 8}),
        ("give it unlabelled texts", {"unlabelled": 20}),
        ("change how long it learns", {"student": "{from: teacher, layers: 1, train: {epochs: 300}}"}),
        ("learn from a teacher", FREE | {"student": "{model: 'file:model'}"}),
    ],
)
def test_what_is_lacking_is_said(tmp_path: Path, what: str, changes: dict[str, object]) -> None:
    assert what in advised(tmp_path, **changes)  # type: ignore[arg-type]


def test_written_answers_from_few_rows_need_no_teacher_and_all_layers(tmp_path: Path) -> None:
    found = advised(tmp_path, train=90, task="generation", distillation="{match: tokens}")
    assert {"do without a teacher", "keep all layers, and fewer units in each"} <= set(found)


def test_how_each_model_learns_is_a_way_for_which_memory_suffices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"teacher": "{model: smollm2-135m-instruct, train: {method: full}}", "optimization": "[]"}
    path = write_project(tmp_path, **changes, evaluation="{compare: [student]}")

    def told(free: float) -> list[tuple[str, str]]:
        monkeypatch.setattr(module, "free_memory_bytes", lambda: free)
        found = [(one.what, one.line) for one in advise(Project.load(path))]
        return [(what, line) for what, line in found if "teacher" in what or "student" in what]

    student = ("train the student as it stands (full)", "")
    assert told(1e12) == [("train the teacher as it stands (full)", ""), student]
    line = "teacher: {train: {max_tokens: 256, gradient_checkpointing: true, method: qlora}}"
    assert told(1.3e9) == [("train the teacher with qlora", line), student]
    assert told(1.0e9) == [("choose a smaller teacher", ""), student]
