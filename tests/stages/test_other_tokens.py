"""A student of another family, with other tokens than its teacher, learns what it says, to the shipped model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slmops.core.errors import ConfigError
from slmops.models.tokenizer import Tokenizer
from slmops.stages.project import Project
from slmops.stages.run import open_store, run
from slmops.training.target_codes import decode
from tests.models.architectures import ARCHITECTURES
from tests.stages.test_every_task import TRAIN, project_of

OTHER = next(one for one in ARCHITECTURES if one.name == "llama-3")


def with_student(tmp_path: Path, kind: str, more: str = "") -> Project:
    path = project_of(tmp_path, kind)
    OTHER.write(tmp_path / "other")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("student:")]
    lines += [f"student: {{model: 'file:other'{more}, {TRAIN}}}"]
    lines += ["distillation: {match: tokens, cache: 16, loss: {forward_kl: 0.6, sorted_distance: 0.3}}"]
    path.write_text("\n".join(lines) + "\n")
    return Project.load(path)


@pytest.mark.parametrize("more", ["", ", vocabulary: 1"])
def test_it_goes_the_whole_way(tmp_path: Path, more: str) -> None:
    project = with_student(tmp_path, "summarization", more)
    run(project, until="int4")
    store = open_store(project)
    made = store.manifest("tiny/targets@latest")
    (respelled,) = [one for one in made.measurements if one.name == "respelled"]
    assert respelled.value.value == respelled.conditions["of"] > 0
    folder, pruned = store.open(made.id), store.open(store.manifest("tiny/pruned@latest").id)
    ids, logprobs = decode(np.load(folder / "targets.npy"))
    assert ids.max() < Tokenizer(pruned).vocabulary_size
    mass = np.exp(logprobs).sum(1)
    assert 0.1 < mass.mean() <= 1.01
    index = json.loads((folder / "targets.json").read_text())["rows"]
    assert len(ids) > len(index)
    assert store.manifest("tiny/int4@latest").parents["student"] == store.manifest("tiny/student@latest").id


def test_conversations_of_several_answers_are_spelled_turn_by_turn(tmp_path: Path) -> None:
    run(project := with_student(tmp_path, "conversation"), until="student")
    made = open_store(project).manifest("tiny/targets@latest")
    (respelled,) = [one for one in made.measurements if one.name == "respelled"]
    assert respelled.value.value == respelled.conditions["of"] > 0


def test_the_same_tokens_are_kept_as_they_are(tmp_path: Path) -> None:
    project = with_student(tmp_path, "summarization")
    project.path.write_text(project.path.read_text().replace("file:other", "file:model"))
    run(project := Project.load(project.path), until="targets")
    assert not [
        one for one in open_store(project).manifest("tiny/targets@latest").measurements if one.name == "respelled"
    ]


@pytest.mark.parametrize("asked", ["temperature: 2.0", "cache: {top_k: 16, kind: sampled}", "on_policy: 0.5"])
def test_what_needs_the_same_tokens_is_learned_of_a_teacher_that_has_them(tmp_path: Path, asked: str) -> None:
    path = with_student(tmp_path, "summarization").path
    *lines, _ = path.read_text().splitlines()
    lines += [f"distillation: {{match: tokens, {asked}, loss: {{forward_kl: 1}}}}"]
    path.write_text("\n".join(lines) + "\n")
    name = asked.partition(":")[0]
    with pytest.raises(
        ConfigError, match=rf"distillation\.{name}.*: the student's tokens are others than the teacher's"
    ):
        run(project := Project.load(path), until="student")
    assert not list(open_store(project).entries())
    path.write_text(path.read_text().replace("file:other", "file:model"))
    run(project := Project.load(path), until="student")
    assert open_store(project).manifest("tiny/student@latest").parents["targets"]
