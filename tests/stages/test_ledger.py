"""Where points were lost is found out by students that were made less small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slmops.core.errors import SlmopsError
from slmops.evaluation.summary import Ledger
from slmops.models.folder import read_json
from slmops.stages.ledger import CUT, TEACHER, TRIMMED, WHOLE, account, read_ledger
from slmops.stages.project import Project
from slmops.stages.report import write_report
from slmops.stages.run import open_store, run
from tests.stages.tiny_project import write_project

TRAIN = "train: {epochs: 2, learning_rate: 0.01}"
CHANGES = {
    "student": f"{{from: teacher, layers: 1, vocabulary: 64, {TRAIN}}}",
    "evaluation": "{compare: [teacher, student, int4], bench: {messages: 2}}",
}


@pytest.fixture(scope="module")
def accounted(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.load(write_project(tmp_path_factory.mktemp("accounted"), **CHANGES))
    run(project)
    account(project)
    return project


def test_each_step_is_a_student_that_differs_by_it_alone(accounted: Project) -> None:
    store = open_store(accounted)
    own, dataset = store.manifest("tiny/student@latest").id, store.manifest("tiny/dataset@latest").id
    ledger = read_ledger(accounted, own, dataset)
    assert ledger and [step.after for step in ledger.steps] == [TEACHER, WHOLE, CUT, TRIMMED]
    assert ledger.steps[0].difference is None
    for before, step in zip(ledger.steps, ledger.steps[1:], strict=False):
        assert step.difference and step.difference.value == pytest.approx(step.figure - before.figure)
    made = [store.manifest(f"tiny-ledger/{name}@student").id for name in ("taught-nothing-cut", "cut", "fewer-tokens")]
    configs = [read_json(store.open(one) / "config.json") for one in made]
    assert [config["num_hidden_layers"] for config in configs] == [2, 1, 1]
    assert configs[0]["vocab_size"] == configs[1]["vocab_size"] > configs[2]["vocab_size"]
    assert made[2] == own


def test_the_report_has_the_steps_and_what_came_behind_them(accounted: Project) -> None:
    summary, page = write_report(accounted)
    shown = page.read_text().partition("Where points were lost</h2>")[2]
    places = [shown.find(after) for after in (TEACHER, WHOLE, CUT, TRIMMED, "quantized: int4")]
    assert -1 not in places and places == sorted(places) and "made smaller, and taught" not in shown
    teacher = summary.figure("teacher", "accuracy")
    assert summary.ledger and teacher and summary.ledger.steps[0].figure == pytest.approx(teacher.value)


def test_it_goes_on_where_it_was_and_is_of_this_student_alone(accounted: Project) -> None:
    store = open_store(accounted)
    before = store.entries()
    ledger = account(accounted)
    assert open_store(accounted).entries() == before
    assert read_ledger(accounted, "another", ledger.dataset) is None
    assert read_ledger(accounted, ledger.student, "other messages") is None
    store.gc()
    assert all(store.open(one.id).is_dir() for one in before)


def test_the_command_shows_it(accounted: Project) -> None:
    def said(*more: str) -> str:
        command = [str(Path(sys.executable).with_name("slmops")), "ledger", *more]
        return subprocess.run(command, cwd=accounted.path.parent, check=True, capture_output=True, text=True).stdout

    told = said()
    assert all(after in told for after in (TEACHER, WHOLE, CUT, TRIMMED)) and "points" in told
    assert Ledger.model_validate_json(said("--json")) == account(accounted)


def test_where_no_step_was_taken_there_is_none_to_account_for(tmp_path: Path) -> None:
    path = write_project(tmp_path, student=f"{{from: teacher, {TRAIN}}}")
    with pytest.raises(SlmopsError, match="nothing of it was made smaller"):
        account(Project.load(path))
    path = write_project(tmp_path / "alone", teacher=None, synthesis=None, student=f"{{model: 'file:model', {TRAIN}}}")
    with pytest.raises(SlmopsError, match="no teacher runs here"):
        account(Project.load(path))
    path = write_project(tmp_path / "scratch", student=f"{{from: scratch, layers: 1, {TRAIN}}}")
    with pytest.raises(SlmopsError, match="from scratch nothing is cut"):
        account(Project.load(path))
