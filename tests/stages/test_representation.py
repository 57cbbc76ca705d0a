"""A student learns what goes on inside its teacher, from its project's YAML to the shipped model."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.core.errors import ConfigError, SlmopsError
from slmops.models.forward import load_causal_lm
from slmops.stages.project import Project
from slmops.stages.run import open_store, run
from slmops.training.curve import read_curve
from tests.models.architectures import ARCHITECTURES
from tests.stages.test_every_task import project_of
from tests.stages.tiny_project import write_project

TERMS = {"hidden_states", "attention", "values"}
INSIDE = "{hidden_states: 1, attention: 1, values: 1, layers: similar}"
TRAIN = "train: {epochs: 4, learning_rate: 0.01, noise: 0.2}"


def test_a_narrower_student_with_fewer_tokens_learns_it(tmp_path: Path) -> None:
    """Projections are learned and do not ship; noisy copies and another prompt are held together all the same."""
    student = f"{{from: teacher, width: 32, vocabulary: 1, layers: 1, {TRAIN}}}"
    path = write_project(tmp_path, student=student, distillation=f"{{representation: {INSIDE}}}")
    project = Project.load(path)
    run(project, until="int4")
    store = open_store(project)
    made = store.manifest("tiny/student@latest")
    assert set(made.parents) == {"dataset", "pruned", "targets", "teacher"}
    told = [point.gradients for point in read_curve(store.open(made.id) / "curve.jsonl") if point.gradients]
    assert all(set(norms) >= TERMS and min(norms[name] for name in TERMS) > 0 for norms in told)
    assert not [name for name, _ in load_causal_lm(store.open(made.id)).named_parameters() if "slmops" in name]


def test_written_answers_and_what_the_student_writes_itself_go_together_with_it(tmp_path: Path) -> None:
    path = project_of(tmp_path, "summarization")
    inside = "{values: 1, layers: {1: 2}}"
    path.write_text(path.read_text() + f"distillation: {{match: tokens, on_policy: 0.5, representation: {inside}}}\n")
    project = Project.load(path)
    run(project, until="student")
    store = open_store(project)
    curve = read_curve(store.open(store.manifest("tiny/student@latest").id) / "curve.jsonl")
    assert {name for point in curve for name in point.gradients} >= {"values", "forward_kl"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"distillation": "{representation: {layers: last}}"}, "all weights are 0 — give one a weight above 0"),
        ({"distillation": "{representation: {values: 1, layers: {}}}"}, r"layers: \{\} follows nothing"),
        ({"distillation": "{representation: {values: 1, layers: {0: 1}}}"}, "distillation.representation.layers"),
        ({"distillation": "{match: answers, representation: 1}"}, "distillation.representation: answers are learned"),
        (
            {"student": "{model: 'file:model', vocabulary: 1}", "distillation": "{representation: 1}"},
            "student.vocabulary: the student's tokens are no longer",
        ),
    ],
)
def test_what_cannot_be_is_told_where_it_stands(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Project.load(write_project(tmp_path, **changes))


def test_a_layer_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = write_project(tmp_path, distillation="{representation: {hidden_states: 1, layers: {1: 3}}}")
    with pytest.raises(SlmopsError, match=r"layer 1 is to follow layer 3, the student has 1, the teacher 2 — name"):
        run(project := Project.load(path), until="student")
    assert list(open_store(project).entries()) == []


def test_other_tokens_than_the_teachers_are_told_before_anything_is_made(tmp_path: Path) -> None:
    ARCHITECTURES[0].write(tmp_path / "other")
    inside = "{representation: {values: 1}}"
    path = write_project(tmp_path, student="{model: 'file:other'}", distillation=inside)
    with pytest.raises(ConfigError, match=r"distillation\.representation: the student's tokens are others"):
        run(project := Project.load(path), until="student")
    assert list(open_store(project).entries()) == []


def test_layers_that_stay_follow_nothing(tmp_path: Path) -> None:
    """Half of the layers learn by default: the others need no projection, and cannot be told to follow."""
    student = f"{{from: teacher, width: 32, layers: 2, {TRAIN}}}"
    path = write_project(tmp_path, student=student, distillation="{representation: 1}")
    run(Project.load(path), until="student")
    path.write_text(path.read_text().replace("representation: 1", "representation: {values: 1, layers: {1: 1}}"))
    with pytest.raises(SlmopsError, match="no layer that learns follows one of the teacher's — raise"):
        run(Project.load(path), until="student")
