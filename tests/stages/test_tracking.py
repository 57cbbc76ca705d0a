"""A project whose trainings are followed: what is tracked is no content, and a search's trials are one group."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.stages import learning, saved
from slmops.stages.project import Project
from slmops.stages.run import open_store, plan, run
from slmops.training.curve import read_curve
from tests.stages.tiny_project import write_config, write_project

_TEACHER = "{model: 'file:model', train: {rank: 4, epochs: 2, learning_rate: 0.01}}"
_SEARCH = (
    "{model: 'file:model', train: {rank: 4, learning_rate: 0.01, search: {num_trials: 3, halving: false, "
    "search_space: {epochs: {type: choice, values: [1.0, 2.0]}}}}}"
)


def tags_in(folder: Path) -> dict[str, list[int]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {name: [event.step for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_a_teacher_is_followed_and_nothing_is_made_anew_when_tracking_changes(tmp_path: Path) -> None:
    followed = Project.load(write_project(tmp_path, teacher=_TEACHER, tracking="[tensorboard]"))
    run(followed, until="teacher")

    store = open_store(followed)
    curve = read_curve(store.open("tiny/teacher@latest") / learning.CURVE_FILE)
    steps = [point.step for point in curve if point.step]
    (folder,) = (followed.state / "tracking" / "tensorboard").iterdir()
    tags = tags_in(folder)
    assert folder.name.startswith("teacher-")
    assert tags["loss"] == tags["learning_rate"] == tags["memory_mb"] == steps
    assert 0 < len(tags["validation_loss"]) <= 3
    measured = {one.name: one.value.value for one in store.manifest("tiny/teacher@latest").measurements}
    assert measured["training_examples_per_s"] > 0 and measured["training_memory_mb"] > 10

    changed = Project.load(write_config(tmp_path, teacher=_TEACHER, tracking="{to: mlflow, project: other}"))
    assert [item.why for item in plan(changed)][:2] == ["unchanged", "unchanged"]


def test_a_searchs_trials_are_runs_of_one_group(tmp_path: Path) -> None:
    project = Project.load(write_project(tmp_path, teacher=_SEARCH, tracking="mlflow"))
    run(project, until="teacher")

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.state / 'tracking' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    by_name = {one.info.run_name: one for one in runs}
    (group,) = [name for name in by_name if "/" not in name]
    trials = [by_name[f"{group}/trial-{number}"] for number in range(3)]
    assert len(runs) == 4
    assert {one.data.tags["mlflow.parentRunId"] for one in trials} == {by_name[group].info.run_id}
    assert {one.data.params["epochs"] for one in trials} == {"1.0", "2.0"}
    assert {one.info.status for one in runs} == {"FINISHED"}


def test_a_training_that_was_killed_goes_on_as_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.load(write_project(tmp_path, teacher=_TEACHER, tracking="tensorboard"))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(saved, "merge", _interrupted)
        run(project, until="teacher")
    run(project, until="teacher")
    run(project, first="teacher", until="teacher")  # asked for again, it is another run

    folders = sorted((project.state / "tracking" / "tensorboard").iterdir())
    assert len(folders) == 2
    steps = tags_in(folders[0])["loss"]
    assert steps == sorted(set(steps)) == tags_in(folders[1])["loss"]


def _interrupted(model: object) -> None:
    raise KeyboardInterrupt
