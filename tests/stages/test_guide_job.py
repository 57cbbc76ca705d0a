"""A distillation job as guides to Azure ML write it becomes a project of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slmops.core.errors import ConfigError
from slmops.stages.guide_job import FILL_IN
from slmops.stages.project import Project
from slmops.stages.run import figures_of, open_store, run
from slmops.stages.start import init
from tests.stages.tiny_project import read_rows, write_project

GUIDE: dict[str, Any] = {
    "teacher_model": "deepseek-v3",
    "student_model": "phi-4-mini",
    "training_data": "./training_data.jsonl",
    "validation_data": "./validation_data.jsonl",
    "task_type": "conversation",
    "hyperparameters": {"learning_rate": 2e-5, "batch_size": 2, "num_epochs": 3, "temperature": 0.7},
}


def _init(folder: Path, **changes: Any) -> tuple[Project, tuple[str, ...]]:
    job = folder / "job.json"
    job.write_text(json.dumps({key: value for key, value in (GUIDE | changes).items() if value is not None}))
    path, left = init(folder, job=job)
    return Project.load(path), left


def test_the_guides_own_job_is_taken_and_says_what_is_left(tmp_path: Path) -> None:
    project, left = _init(tmp_path, metrics=["accuracy", "bleu_score", "inference_time"])
    assert project.task.type == "conversation" and project.student.model == "hf:microsoft/Phi-4-mini-instruct"
    assert project.teacher is not None
    assert (project.teacher.model, project.teacher.endpoint) == ("deepseek-v3", FILL_IN)
    train = project.student.train
    assert (train.learning_rate, train.batch_size, train.epochs) == (2e-5, 2, 3)
    assert project.data.unlabelled == project.data.train == tmp_path / "training_data.jsonl"
    assert project.evaluation.metrics == ("bleu",)
    assert [note.split()[0] for note in left] == [
        "teacher.endpoint:",
        "TEACHER_API_KEY:",
        "./test_data.jsonl:",
        "temperature",
    ]


def test_a_job_whose_models_are_here_runs_and_is_judged_by_bleu_too(tmp_path: Path) -> None:
    write_project(tmp_path).unlink()
    rows = [{"question": row["text"], "answer": row["label"]} for row in read_rows(tmp_path / "data" / "test.jsonl")]
    for part, some in (("training", rows[:16]), ("validation", rows[16:20]), ("test", rows[20:])):
        text = "".join(json.dumps({"text": row["question"], "answer": row["answer"]}) + "\n" for row in some)
        (tmp_path / f"{part}_data.jsonl").write_text(text)
    hyper = {"num_epochs": 1, "temperature": 2.0}
    models = {"teacher_model": "file:model", "student_model": "file:model"}
    metrics = {"metrics": ["accuracy", "bleu_score", "inference_time"]}
    project, left = _init(tmp_path, hyperparameters=hyper, task_type="Generation", **models, **metrics)
    assert left[-1].startswith("temperature is left out: it softens probabilities, and of written answers")
    assert project.data.unlabelled is None
    brief = "task: {type: generation, max_tokens: 16}"
    project.path.write_text(project.path.read_text().replace("task: generation", brief))
    project = Project.load(project.path)
    run(project, until="evidence")
    figures = figures_of(open_store(project).manifest(f"{project.name}/evidence@latest"))
    for figure in ("bleu", "latency_ms"):
        assert {(name, shown) for name, shown, against in figures if not against} >= {
            ("int4", figure),
            ("untrained", figure),
        }


def test_the_temperature_of_labels_is_kept(tmp_path: Path) -> None:
    project, left = _init(tmp_path, teacher_model="smollm2-135m-instruct", task_type="NLI", compute="cpu-cluster")
    assert (project.distillation.temperature, left) == (0.7, ("./test_data.jsonl: rows to judge by",))
    assert (project.engine.type, project.engine.compute) == ("azureml", "cpu-cluster")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task_type": "poetry"}, r"job.json · task_type: there is no task type 'poetry' — classification"),
        ({"student_model": "phi-9"}, "it is not known where 'phi-9' is — write hf:owner/name"),
        ({"hyperparameters": {"learning_rte": 1e-5}}, r"learning_rte"),
        ({"hyperparameters": {"num_epochs": 0}}, r"job.json:1 · hyperparameters.num_epochs"),
        ({"teacher_model": None}, "teacher_model"),
        ({"colour": "red"}, "colour"),
        ({"name": "a b"}, "'a b' cannot be a name"),
        ({"compute": "a;b"}, "engine.compute"),
    ],
)
def test_what_a_job_cannot_say_is_named(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        _init(tmp_path, **changes)
    assert not (tmp_path / "slmops.yaml").exists()
