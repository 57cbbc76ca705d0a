"""A student is cut in rounds, and learns after each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from slmops.core.errors import ConfigError
from slmops.models.folder import read_json
from slmops.stages.estimates import student_shape
from slmops.stages.project import Project
from slmops.stages.report import summarize
from slmops.stages.run import open_store, run
from slmops.training.curve import read_curve
from slmops.training.estimate import Shape
from tests.stages.tiny_project import write_config, write_project
from tests.tiny import write_model

TRAIN = "train: {epochs: 3, learning_rate: 0.01}"
TEACHER = "{model: 'file:model', train: {epochs: 2, learning_rate: 0.01}}"


def with_layers(folder: Path, layers: int, **changes: str) -> Path:
    path = write_project(folder, **changes)
    shutil.rmtree(folder / "model")
    markers = ("<|im_start|>", "<|im_end|>")
    write_model(folder / "model", "llama", markers, hidden_size=64, initializer_range=0.1, num_hidden_layers=layers)
    return path


@pytest.mark.parametrize("keep", ["lower", "greedy", "dissimilar"])
def test_it_loses_about_as_many_layers_in_each_round_and_learns_in_between(tmp_path: Path, keep: str) -> None:
    student = f"{{from: teacher, layers: 1, rounds: 3, keep: {keep}, vocabulary: 1, {TRAIN}}}"
    project = Project.load(with_layers(tmp_path, 6, student=student, teacher=TEACHER))
    run(project)
    store = open_store(project)
    made = {
        stage: store.manifest(f"tiny/{stage}@latest")
        for stage in ("pruned", "student_1", "pruned_2", "student_2", "pruned_3", "student")
    }
    layers = {
        stage: json.loads((store.open(one.id) / "config.json").read_text())["num_hidden_layers"]
        for stage, one in made.items()
    }
    assert list(layers.values()) == [4, 4, 2, 2, 1, 1]
    for stage, source in (("pruned_2", "student_1"), ("pruned_3", "student_2")):
        assert made[stage].parents["student"] == made[source].id
    assert made["student"].parents["pruned"] == made["pruned_3"].id
    assert made["student"].parents["targets"] == made["student_1"].parents["targets"]
    steps = [list(read_curve(store.open(made[name].id) / "curve.jsonl"))[-1].step for name in made if "student" in name]
    assert len(set(steps)) == 1
    told = summarize(project)
    assert set(told.curves) == {"teacher", "student_1", "student_2", "student"}
    assert told.shipped == "int4" and told.subject("untrained") is None


def test_what_is_in_a_layer_goes_in_shares_too_as_the_plan_foretells(tmp_path: Path) -> None:
    student = "{from: teacher, units: 32, kv_heads: 1, heads: 1, width: 32, rounds: 2, train: {epochs: 2}}"
    project = Project.load(write_project(tmp_path, student=student, teacher=TEACHER, synthesis="{augment: 0}"))
    shutil.rmtree(tmp_path / "model")
    sizes = {"hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 6, "num_key_value_heads": 3}
    write_model(tmp_path / "model", "llama", ("<|im_start|>", "<|im_end|>"), **sizes)
    run(project, until="pruned_2")
    store = open_store(project)
    shapes = [
        Shape.of(read_json(store.open(f"tiny/{stage}@latest") / "config.json"))
        for stage in ("pruned", "student_1", "pruned_2")
    ]
    assert [(shape.inner, shape.width) for shape in shapes] == [(96, 64), (96, 64), (32, 32)]
    assert [(shape.heads, shape.kv_heads) for shape in shapes] == [(4, 2), (4, 2), (1, 1)]
    assert [student_shape(project, number) for number in (1, 2)] == shapes[1:]


def test_between_rounds_the_width_is_a_multiple_of_the_heads(tmp_path: Path) -> None:
    def of_rounds(student: str) -> list[tuple[int, int]]:
        """Width and heads after each, of the default model's 576 and 9 in 3 groups."""
        project = Project.load(write_config(tmp_path, student=f"{{model: 'hf:never/fetched', {student}}}"))
        shapes = [student_shape(project, number) for number in range(1, project.student.rounds + 1)]
        return [(shape.width, shape.heads) for shape in shapes]

    assert of_rounds("width: 288, rounds: 2") == [(576, 9), (288, 9)]
    assert of_rounds("width: 288, kv_heads: 1, rounds: 3") == [(480, 6), (384, 6), (288, 3)]
    assert of_rounds("kv_heads: 1, heads: 1, rounds: 2") == [(576, 4), (576, 1)]
    assert of_rounds("heads: 2, rounds: 2")  # fits a model that was never fetched, perhaps


def test_one_round_is_what_it_was(tmp_path: Path) -> None:
    one = Project.load(write_project(tmp_path, student="{from: teacher, layers: 1, rounds: 1}"))
    run(one, until="pruned")
    asked = json.loads((one.state / "asked" / "pruned.json").read_text())
    assert "rounds" not in asked


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"student": "{from: teacher, rounds: 2}"}, "rounds says how parts are cut, but all stay — give layers, units"),
        (
            {
                "student": "{from: teacher, layers: 1, rounds: 2, "
                "train: {search: {search_space: {epochs: {type: int, low: 1, high: 2}}}}}"
            },
            "another student after each round",
        ),
        (
            {"student": "{from: teacher, layers: 1, rounds: 2, train: {method: prompt, quantization_aware: 0}}"},
            "method: prompt would add its own to the model in each of the rounds",
        ),
        (
            {"student": "{from: teacher, layers: 1, rounds: 3, train: {noise: 0.1, epochs: 3}}"},
            "noise varies rows from the second epoch on, which no round has",
        ),
        ({"optimization": "{precision: int4, name: student_1}"}, "student_1 is the name of something"),
    ],
)
def test_what_cannot_be_is_told_where_it_stands(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Project.load(write_project(tmp_path, **changes))
