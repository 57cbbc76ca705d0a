"""A teacher that learns the task, and is asked, without its instruction: nobody who asks it reads that."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.core.errors import ConfigError
from slmops.data.records import read_records
from slmops.models.folder import read_card
from slmops.runtimes.local import LocalModel
from slmops.stages.evidence import read_answers
from slmops.stages.parts import read_part, read_task
from slmops.stages.preview import preview
from slmops.stages.project import Project
from slmops.stages.report import summarize
from slmops.stages.run import open_store, plan, run
from slmops.synthesis.label import answer_records
from tests.stages.tiny_project import write_config, write_project

UNTOLD = '''\
from slmops.tasks.classification import Classification


class Untold(Classification):
    """Whoever wants the instruction stops."""

    name = "untold"

    def messages(self, record, answer=None):
        raise RuntimeError("the instruction was read")
'''
TEACHER = "{model: 'file:model', prompt: short, train: {method: full, epochs: 2, learning_rate: 0.01}}"
TOKENS = "{match: tokens, on_policy: 0.5, representation: {values: 1}, cache: 16}"


def test_nobody_who_asks_it_reads_the_instruction(tmp_path: Path) -> None:
    (tmp_path / "untold.py").write_text(UNTOLD)
    sections = {"task": "'untold:Untold'", "teacher": TEACHER, "distillation": TOKENS, "evaluation": "{}"}
    project = Project.load(write_project(tmp_path, **sections))
    run(project)
    told = {one.name: one.prompt for one in summarize(project).subjects}
    assert told["teacher"] == told["student"] == told["teacher_int4"] != ""
    store = open_store(project)
    card = read_card(store.open(store.manifest("tiny/teacher@latest").id))
    assert card and card.prompt == "short"
    (shown,) = preview(project, rows=1, learner="teacher")
    assert "".join(piece.text for piece in shown.pieces).startswith("<|im_start|>user")


def test_its_probabilities_are_those_without_the_instruction(tmp_path: Path) -> None:
    project = Project.load(write_project(tmp_path, teacher=TEACHER, evaluation="{compare: [teacher]}"))
    run(project)
    store = open_store(project)
    model, task = LocalModel(store.open("tiny/teacher@latest")), read_task(store.open("tiny/dataset@latest"))
    said = read_records(store.open("tiny/labels@latest") / "labels.jsonl")
    for prompt in ("short", "full"):
        asked = answer_records(model, task, said, by="again", prompt=prompt, accept_confidence=0)
        is_same = [one.answers[-2].label_probs == one.answers[-1].label_probs for one in asked]
        assert all(is_same) if prompt == "short" else not any(is_same)
    rows = read_part(store.open("tiny/dataset@latest"), "test")
    told = read_answers(store.open("tiny/evidence@latest"), "teacher")
    answered = answer_records(model, task, rows, by="again", prompt="short", accept_confidence=0)
    assert [row["text"] for row in told] == [one.answers[-1].text for one in answered]


def test_each_of_several_is_asked_as_it_was_taught(tmp_path: Path) -> None:
    taught = "train: {method: full, epochs: 2, learning_rate: 0.01}"
    teachers = f"[{{model: 'file:model', {taught}}}, {{model: 'file:model', prompt: short, {taught}}}]"
    project = Project.load(write_project(tmp_path, teacher=teachers, synthesis="{accept: {confidence: 0}}"))
    run(project, until="labels")
    store = open_store(project)
    task = read_task(store.open("tiny/dataset@latest"))
    said = read_records(store.open("tiny/labels@latest") / "labels.jsonl")
    for place, (name, prompt) in enumerate([("teacher", "full"), ("teacher_2", "short")]):
        folder = store.open(f"tiny/{name}@latest")
        card = read_card(folder)
        assert card and card.prompt == prompt
        asked = answer_records(LocalModel(folder), task, said, by="again", prompt=card.prompt, accept_confidence=0)
        assert all(one.answers[place].label_probs == one.answers[-1].label_probs for one in asked)


def test_one_that_is_taught_nothing_is_warned_of(tmp_path: Path) -> None:
    untaught = "{model: 'file:model', prompt: short, train: false}"
    told: list[str] = []
    project = Project.load(write_project(tmp_path, teacher=untaught))
    run(project, until="teacher", progress=lambda stage, share, note: told.append(note or ""))
    assert [one for one in told if "it must have learned the task before" in one]


def test_another_prompt_is_another_teacher(tmp_path: Path) -> None:
    project = Project.load(write_project(tmp_path, optimization="[]", evaluation="{compare: [student]}"))
    run(project)
    write_config(tmp_path, optimization="[]", evaluation="{compare: [student]}", teacher=TEACHER)
    assert [item.stage.name for item in plan(Project.load(project.path)) if item.runs][:2] == ["teacher", "labels"]


def test_an_endpoint_is_told_the_task(tmp_path: Path) -> None:
    asked = "{model: big, endpoint: 'https://x/v1', prompt: short}"
    with pytest.raises(ConfigError, match="a model behind an endpoint is told the task — remove prompt"):
        Project.load(write_project(tmp_path, teacher=asked, student="{model: 'file:model'}"))
