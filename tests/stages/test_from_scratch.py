"""A student with random weights learns all that it knows from its teacher."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.core.errors import ConfigError
from slmops.models.folder import read_json
from slmops.models.forward import load_causal_lm
from slmops.stages.project import Project
from slmops.stages.run import open_store, plan, run
from slmops.stages.verbs import ask
from slmops.training.curve import read_curve
from tests.stages.tiny_project import LABELS, write_config, write_project

TRAIN = "train: {epochs: 10, learning_rate: 0.01}"
TEACHER = "{model: 'file:model', train: {method: full, epochs: 1, learning_rate: 0.01}}"
STUDENT = f"{{from: scratch, layers: 1, width: 32, units: 64, context: 256, vocabulary: 1, {TRAIN}}}"


def test_it_goes_the_whole_way_and_all_of_it_learns(tmp_path: Path) -> None:
    project = Project.load(write_project(tmp_path, student=STUDENT, teacher=TEACHER, synthesis="{augment: 0}"))
    run(project, until="int4")
    store = open_store(project)
    before, after = (store.open(f"tiny/{stage}@latest") for stage in ("pruned", "student"))
    config = read_json(after / "config.json")
    assert (config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]) == (1, 32, 64)
    assert config["max_position_embeddings"] == 256
    weights = zip(load_causal_lm(before).named_parameters(), load_causal_lm(after).named_parameters(), strict=True)
    assert [name for (name, one), (_, other) in weights if bool((one == other).all())] == []
    curve = [point.seen_loss for point in read_curve(after / "curve.jsonl") if point.seen_loss is not None]
    assert curve[-1] < curve[0] / 2
    assert ask("tiny/int4@latest", "Where is my parcel?", store=store).text in LABELS


def test_another_seed_makes_it_anew_and_a_model_is_an_architecture_too(tmp_path: Path) -> None:
    run(Project.load(write_project(tmp_path, student=STUDENT, teacher=TEACHER)), until="pruned")
    planned = plan(Project.load(write_config(tmp_path, student=STUDENT, seed="8")))
    assert {item.stage.name: item.runs for item in planned}["pruned"]
    alone = STUDENT.replace("from: scratch", "from: scratch, model: 'file:model'")
    project = Project.load(write_config(tmp_path, student=alone, teacher=None, synthesis=None))
    run(project, until="pruned")
    assert set(open_store(project).manifest("tiny/pruned@latest").parents) == {"dataset", "vocabulary"}


@pytest.mark.parametrize(
    ("student", "told"),
    [
        ("{from: scratch, layers: 1, keep: spread}", "keep says how a model is cut, but from scratch none is"),
        ("{from: scratch, train: {method: lora}}", "embeddings learn with all weights, beneath all layers"),
        ("{from: scratch, train: {upper_layers: 0.5}}", "write method: full, upper_layers: 1"),
        ("{from: scratch, train: {embeddings: false}}", "embeddings know nothing that could stay"),
        ("{from: scratch, layers: 3}", "student.layers: 3 is more than the teacher's 2"),
    ],
)
def test_what_cannot_be_is_told_where_it_stands(tmp_path: Path, student: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        plan(Project.load(write_project(tmp_path, student=student)))
