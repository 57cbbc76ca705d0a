"""A student learns from what it writes itself, from its project's YAML to the shipped model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slmops.core.errors import ConfigError
from slmops.stages.project import Project
from slmops.stages.run import open_store, run
from slmops.training.curve import read_curve
from tests.stages.test_every_task import TRAIN, project_of
from tests.stages.tiny_project import write_project

DISTILLATION = "{match: tokens, on_policy: 0.5, loss: {skewed_reverse_kl: 1}, cache: 16}"


@pytest.mark.parametrize("vocabulary", ["all", "1"])
def test_a_student_that_writes_for_itself_goes_the_whole_way(tmp_path: Path, vocabulary: str) -> None:
    student = f"{{from: teacher, layers: 1, vocabulary: {vocabulary}, {TRAIN}}}"
    path = project_of(tmp_path, "summarization", student=student)
    path.write_text(path.read_text() + f"distillation: {DISTILLATION}\n")
    project = Project.load(path)
    run(project, until="student")
    store = open_store(project)
    student = store.manifest("tiny/student@latest")
    assert set(student.parents) == {"dataset", "pruned", "targets", "teacher"}
    curve = list(read_curve(store.open(student.id) / "curve.jsonl"))
    assert curve[-1].loss < curve[1].loss
    asked = json.loads((project.state / "asked" / "student.json").read_text())
    assert asked["beside"]["on_policy"]["ratio"] == 0.5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"distillation": "{on_policy: 0.5}"}, "scored token by token — write match: tokens"),
        (
            {"distillation": "{match: tokens, on_policy: 0.5, loss: {cross_entropy: 1}}"},
            "learned by no loss — give a divergence a weight",
        ),
        (
            {
                "distillation": DISTILLATION,
                "student": "{from: teacher, train: {method: prompt, quantization_aware: 0}}",
            },
            "student.train.method: the student may write its virtual tokens",
        ),
        ({"distillation": "{match: tokens, on_policy: 1.5}"}, "distillation.on_policy"),
    ],
)
def test_what_cannot_be_is_told_where_it_stands(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Project.load(write_project(tmp_path, **changes))
