"""A model of the project's own store is a base model like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.core.errors import ConfigError
from slmops.stages.preview import preview
from slmops.stages.project import Project
from slmops.stages.run import open_store, plan, run
from tests.stages.tiny_project import write_config, write_project

TRAIN = "train: {epochs: 1, learning_rate: 0.01}"


def test_a_stored_model_is_taught_further(copied: Path) -> None:
    student = f"{{model: 'store:tiny/student', {TRAIN}}}"
    sections = {"teacher": None, "synthesis": None, "optimization": "[]", "evaluation": "{compare: [student]}"}
    data = "{train: data/labelled.jsonl, test: data/test.jsonl}"
    project = Project.load(write_config(copied, data=data, student=student, name="further", **sections))
    assert preview(project, rows=1, learner="student")
    before = open_store(project).entries(kind="student")
    run(project)
    (made,) = (entry for entry in open_store(project).entries(kind="student") if entry not in before)
    assert made.name == "further/student"
    assert not any(item.runs for item in plan(project))


def test_what_is_no_reference_is_told_where_it_stands(tmp_path: Path) -> None:
    project = Project.load(write_project(tmp_path, teacher="smollm2-135m-instrct"))
    with pytest.raises(ConfigError, match="is no model reference") as caught:
        plan(project)
    assert "slmops.yaml:4 · teacher" in caught.value.where
    assert caught.value.remedy == "did you mean smollm2-135m-instruct?"
