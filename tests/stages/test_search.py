"""Settings of distillation are searched for, each trial a student of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slmops.core.errors import ConfigError, DataError, SlmopsError
from slmops.core.search import say_values
from slmops.stages.project import Project
from slmops.stages.report import summarize
from slmops.stages.run import open_store, run
from slmops.stages.search import as_yaml, begins_at, search
from tests.stages.tiny_project import write_config, write_project

STUDENT = "{from: teacher, layers: 1, train: {epochs: 3, learning_rate: 0.01}}"
SPACE = (
    "{distillation.loss: {type: choice, values: [{forward_kl: 1}, {cross_entropy: 1}]}, "
    "distillation.temperature: {type: float, low: 1, high: 3}, student.layers: {type: int, low: 1, high: 2}}"
)


def asked(space: str, trials: int = 3) -> str:
    return f"{{num_trials: {trials}, search_space: {space}}}"


def test_trials_share_what_they_have_in_common_and_the_best_is_made_already(tmp_path: Path) -> None:
    begin = {"student": STUDENT, "distillation": "{loss: {forward_kl: 1}}", "search": asked(SPACE)}
    project = Project.load(write_project(tmp_path, **begin))
    told: list[str] = []
    found = search(project, lambda stage, share, note: told.append(stage))
    assert [trial.state for trial in found.trials] == ["complete"] * 3
    assert found.trials[0].values == {
        "distillation.loss": {"forward_kl": 1},
        "distillation.temperature": 1,
        "student.layers": 1,
    }
    assert found.best.score == min(trial.score or 9.0 for trial in found.trials)
    shared = {stage.split(": ")[-1] for stage in told if stage.startswith("what all share")}
    assert shared >= {"dataset", "teacher", "labels"}
    assert not [stage for stage in told if stage.startswith("trial") and stage.endswith(("teacher", "labels"))]

    best = found.best.values
    loss = json.dumps(best["distillation.loss"])
    written = {
        "distillation": f"{{loss: {loss}, temperature: {best['distillation.temperature']}}}",
        "student": STUDENT.replace("layers: 1", f"layers: {best['student.layers']}"),
    }
    chosen = Project.load(write_config(tmp_path, search=asked(SPACE), **written))
    assert not [step for step in run(chosen, until="student").made if step.ran]
    assert open_store(chosen).manifest("tiny/student@latest")

    again = search(Project.load(write_config(tmp_path, **begin)))
    assert again.trials == found.trials


def test_ends_that_cannot_be_are_told_before_anything_is_made(tmp_path: Path) -> None:
    space = "{student.layers: {type: int, low: 1, high: 3}}"
    project = Project.load(write_project(tmp_path, student=STUDENT, search=asked(space)))
    with pytest.raises(ConfigError, match=r"student\.layers: 3 is more than the teacher's 2"):
        search(project)
    assert not list(open_store(project).entries())


def test_the_report_draws_the_trials_of_what_is_asked_now(tmp_path: Path) -> None:
    space = "{distillation.loss.cross_entropy: {type: float, low: 0.1, high: 1}}"
    path = write_project(tmp_path, student=STUDENT, search=asked(space, 2), evaluation="{compare: [student]}")
    project = Project.load(path)
    search(project)
    run(project)
    assert [len(found.trials) for found in summarize(project).searches.values()] == [2]
    path.write_text(path.read_text().replace("num_trials: 2", "num_trials: 9"))
    assert summarize(Project.load(path)).searches
    path.write_text(path.read_text().replace("high: 1}", "high: 2}"))
    assert summarize(Project.load(path)).searches == {}


def test_a_search_of_another_config_begins_anew_and_what_all_share_is_no_trials_fault(tmp_path: Path) -> None:
    space = "{distillation.loss.cross_entropy: {type: float, low: 0.1, high: 1}}"
    path = write_project(tmp_path, student=STUDENT, search=asked(space, 2))
    first = search(Project.load(path))
    path.write_text(path.read_text().replace("epochs: 3", "epochs: 2"))
    other = search(Project.load(path))
    assert other.trials[0].values == first.trials[0].values
    assert other.trials[0].score != first.trials[0].score
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 1"))
    rows = (tmp_path / "data" / "labelled.jsonl").read_text()
    (tmp_path / "data" / "labelled.jsonl").write_text("no row\n")
    with pytest.raises(DataError):
        search(Project.load(path))
    (tmp_path / "data" / "labelled.jsonl").write_text(rows)
    assert [trial.state for trial in search(Project.load(path)).trials] == ["complete"] * 2


def test_the_best_is_told_as_the_file_takes_it() -> None:
    loss = {"distillation.loss": {"forward_kl": 1}}
    told = as_yaml({**loss, "distillation.temperature": 1.23456789, "student.layers": 1})
    assert told == 'distillation: {"loss": {"forward_kl": 1}, "temperature": 1.23456789}\nstudent: {"layers": 1}'


def test_a_tried_value_takes_the_place_of_what_is_written_keys_and_all(tmp_path: Path) -> None:
    loss = "{forward_kl: 0.5, cross_entropy: 0.5}"
    project = Project.load(
        write_project(tmp_path, distillation=f"{{loss: {loss}, temperature: 2}}", search=asked(SPACE))
    )
    tried = project.tried_out({"distillation.loss": {"reverse_kl": 1}, "student.layers": 2})
    assert {name for name, weight in tried.distillation.loss.weights.items() if weight} == {"reverse_kl"}
    assert (tried.distillation.temperature, tried.student.layers, tried.search) == (2, 2, None)


def test_a_weight_alone_is_tried_among_the_projects_own(tmp_path: Path) -> None:
    space = "{distillation.loss.cross_entropy: {type: float, low: 0, high: 1}}"
    own = Project.load(write_project(tmp_path, search=asked(space)))
    assert begins_at(own) == {"distillation.loss.cross_entropy": 0.1}
    tried = own.tried_out({"distillation.loss.cross_entropy": 0.5}).distillation.loss
    assert (tried.forward_kl, tried.cross_entropy) == (0.9, 0.5)
    written = Project.load(write_config(tmp_path, distillation="{loss: {reverse_kl: 1}}", search=asked(space)))
    tried = written.tried_out({"distillation.loss.cross_entropy": 0.5}).distillation.loss
    assert (tried.forward_kl, tried.reverse_kl, tried.cross_entropy) == (0, 1, 0.5)


def test_it_begins_where_the_project_is(tmp_path: Path) -> None:
    space = "{distillation.temperature: {type: float, low: 2, high: 3}, student.keep: {type: choice, values: [lower]}}"
    project = Project.load(write_project(tmp_path, search=asked(space)))
    assert begins_at(project) == {"student.keep": "lower"}
    assert say_values(begins_at(project)) == "student.keep lower"


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("{temperature: {type: float, low: 1, high: 2}}", "temperature is no key of distillation, student, synthesis"),
        ("{distillation.temprature: {type: float, low: 1, high: 2}}", "did you mean temperature"),
        ("{distillation.temperature: {type: float, low: -1, high: 2}}", "distillation.temperature cannot be -1"),
        ("{student.layers: {type: choice, values: [1, none]}}", "student.layers cannot be 'none'"),
        ("{student.vocabulary: {type: choice, values: [all, 99]}}", "changes the tokens of an answer"),
        ("{student.units: {type: int, low: 32, high: 64}}", "student.units takes multiples of 32 only"),
        ("{distillation.on_policy: {type: choice, values: [0.5]}}", "cannot be 0.5: what is written is scored"),
    ],
)
def test_what_cannot_be_tried_is_told_before_anything_is_made(tmp_path: Path, space: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Project.load(write_project(tmp_path, search=asked(space)))


def test_nothing_to_search_for_is_told(tmp_path: Path) -> None:
    with pytest.raises(SlmopsError, match="add search"):
        search(Project.load(write_project(tmp_path)))
    twice = "{from: teacher, train: {search: {search_space: {epochs: {type: int, low: 1, high: 2}}}}}"
    with pytest.raises(ConfigError, match="search in every trial would search twice"):
        Project.load(write_config(tmp_path, student=twice, search=asked(SPACE)))
