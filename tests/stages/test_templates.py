"""`slmops new`: what it writes works as it is, in a project that is run with all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.core.errors import SlmopsError
from slmops.core.named import allow
from slmops.stages.project import Project
from slmops.stages.run import figures_of, open_store, plan, run
from slmops.stages.templates import Kind, new_file
from slmops.tasks import load_task
from tests.stages.tiny_project import write_config, write_project


def test_a_project_runs_with_a_loss_a_callback_and_a_metric_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: tuple[Kind, ...] = ("loss", "metric", "callback")
    for kind in kinds:
        _, line = new_file(kind, f"Tiny_{kind}", tmp_path)
        assert f"tiny_{kind}:Tiny_{kind}" in line
    own = "epochs: 2, loss: 'tiny_loss:Tiny_loss', callbacks: ['tiny_callback:Tiny_callback']"
    sections = {
        "teacher": None,
        "synthesis": None,
        "data": "{train: data/labelled.jsonl, test: data/test.jsonl}",
        "student": f"{{model: 'file:model', train: {{{own}}}}}",
        "optimization": "[]",
        "evaluation": "{compare: [student], metrics: 'tiny_metric:Tiny_metric', bench: {messages: 2}}",
    }
    project = Project.load(write_project(tmp_path, **sections, gates="{min_Tiny_metric: 0}"))
    assert [verdict.gate.figure for verdict in run(project).verdicts] == ["Tiny_metric"]
    found = figures_of(open_store(project).manifest("tiny/evidence@latest"))
    assert found["student", "Tiny_metric", ""].value == found["student", "accuracy", ""].value
    (tmp_path / "tiny_loss.py").write_text((tmp_path / "tiny_loss.py").read_text() + "\n")
    assert [item.stage.name for item in plan(project) if item.runs] == ["student", "evidence"]
    write_config(tmp_path, **sections | {"evaluation": "{compare: [student], metrics: 'tiny_metric:missing'}"})
    with pytest.raises(SlmopsError, match=r"tiny_metric:missing: .* has no attribute"):
        plan(Project.load(project.path))


def test_a_task_begins_from_a_file_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, line = new_file("task", "OneWord", tmp_path)
    assert (path.name, line) == ("oneword.py", "task: oneword:OneWord")
    monkeypatch.syspath_prepend(tmp_path)
    allow("oneword:OneWord")
    task = load_task("oneword:OneWord")
    assert task.parse(" yes\n") == "yes"
    with pytest.raises(SlmopsError, match="is not one word"):
        task.parse("yes sir")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("9lives", "no name in Python"),
        ("class", "no name in Python"),
        ("there", "is there already"),
        ("torch", "a library is called torch"),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "there.py").write_text("mine")
    with pytest.raises(SlmopsError, match=told):
        new_file("loss", name, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["there.py"]
