"""`slmops new`: what it writes works as it is, in a project that is run with all of it."""

from __future__ import annotations

from operator import ne
from pathlib import Path

import pytest

from slmops.core.errors import SlmopsError
from slmops.core.named import allow
from slmops.data.records import read_records
from slmops.stages.parts import read_part
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


VARIED = "{augment: 2, vary: 'swapped:swapped', accept: {confidence: 0}}"


def test_texts_are_varied_by_code_of_its_own(tmp_path: Path) -> None:
    path, line = new_file("variation", "swapped", tmp_path)
    assert line == "synthesis: {augment: 2, vary: swapped:swapped}"
    project = Project.load(write_project(tmp_path, synthesis=VARIED))
    run(project, until="labels")
    store = open_store(project)
    texts = {one.id: one.text.split() for one in read_part(store.open("tiny/dataset@latest"), "train")}
    texts |= {one.id: one.text.split() for one in read_part(store.open("tiny/dataset@latest"), "unlabelled")}
    made = [one for one in read_records(store.open("tiny/labels@latest") / "labels.jsonl") if one.source.made_from]
    assert len(made) > len(texts)
    for one in made:
        words, before = one.text.split(), texts[one.source.made_from]
        assert sorted(words) == sorted(before) and sum(map(ne, words, before)) == 2
    path.write_text(path.read_text() + "\n")
    assert next(item.stage.name for item in plan(project) if item.runs) == "labels"


@pytest.mark.parametrize(
    ("name", "returned", "told"),
    [
        ("nothing", "None", "returned a NoneType, expected a text"),
        ("too_far", "text[99]", "raised IndexError: string index out of range — mend it"),
        ("half", "chr(0xD800)", "raised UnicodeEncodeError"),
    ],
)
def test_what_a_variation_does_wrong_is_told_by_its_name(tmp_path: Path, name: str, returned: str, told: str) -> None:
    (tmp_path / f"{name}.py").write_text(f"def vary(text, generator):\n    return {returned}\n")
    synthesis = f"{{augment: 2, vary: '{name}:vary'}}"
    path = write_project(tmp_path, synthesis=synthesis, teacher="{model: 'file:model', train: false}")
    with pytest.raises(SlmopsError, match=f"{name}:vary {told}"):
        run(Project.load(path), until="labels")


def test_a_variation_of_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SlmopsError, match=r"synthesis\.vary: nothing is varied — give synthesis\.augment"):
        Project.load(write_project(tmp_path, synthesis="{augment: 0, vary: 'swapped:swapped'}"))


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
