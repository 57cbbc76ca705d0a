from __future__ import annotations

from pathlib import Path

import pytest

from slmops.core.errors import ConfigError, DataError
from slmops.stages.preview import preview
from slmops.stages.project import Project
from slmops.stages.run import run
from tests.stages.test_every_task import project_of
from tests.stages.tiny_project import CONFIG, write_project


def test_the_text_is_the_models_own_and_the_answer_with_its_end_is_what_is_learned(tmp_path: Path) -> None:
    project = Project.load(write_project(tmp_path))
    short, full = (preview(project, rows=2, learner=learner)[1] for learner in ("student", "teacher"))
    text = "".join(piece.text for piece in full.pieces)
    assert text.startswith("<|im_start|>system\n") and "Labels: login, refund, track" in text
    assert "".join(piece.text for piece in short.pieces).startswith("<|im_start|>user\n")
    for shown in (short, full):
        learned = "".join(piece.text for piece in shown.pieces if piece.learned)
        assert learned.removesuffix("<|im_end|>") in ("login", "refund", "track") and learned.endswith("<|im_end|>")
        assert shown.learned == sum(piece.learned for piece in shown.pieces) < shown.tokens == len(shown.pieces)
    assert short.place.startswith("labelled.jsonl:")


def test_all_turns_of_the_assistant_are_shown_as_learned(tmp_path: Path) -> None:
    shown = preview(Project.load(project_of(tmp_path, "conversation")), rows=1)[0]
    learned = "".join(piece.text for piece in shown.pieces if piece.learned)
    assert learned.startswith("When?<|im_end|>Then take train") and learned.endswith("]<|im_end|>")


def test_a_template_asks_with_any_column_and_is_checked_before_anything_runs(tmp_path: Path) -> None:
    path = project_of(tmp_path, "generation", task="{type: generation, template: 'To {city}: {text}'}")
    with pytest.raises(DataError, match=r"labelled\.jsonl:1: found a row of .*, expected 'city'"):
        run(Project.load(path), until="dataset")
    for name in ("labelled", "test", "unlabelled"):
        file = tmp_path / "data" / f"{name}.jsonl"
        file.write_text(file.read_text().replace('"prompt"', '"city": "Rome", "prompt"'))
    shown = preview(Project.load(path), rows=1)[0]
    assert "To Rome: Greet" in "".join(piece.text for piece in shown.pieces)
    with pytest.raises(ConfigError, match="is no template"):
        path.write_text(path.read_text().replace("To {city}: {text}", "{text"))
        run(Project.load(path))


def test_a_project_without_a_teacher_previews_its_student(tmp_path: Path) -> None:
    student = "{model: 'file:model', train: {epochs: 1}}"
    project = Project.load(write_project(tmp_path, **(CONFIG | {"teacher": None, "student": student})))
    assert preview(project, rows=1)
    with pytest.raises(ConfigError, match="there is no teacher"):
        preview(project, learner="teacher")
