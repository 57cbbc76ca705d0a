"""What a student will be is told before it is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.core.errors import ModelError
from slmops.models.forward import load_causal_lm
from slmops.optimization.vocabulary import read_kept
from slmops.stages.project import Project
from slmops.stages.run import open_store, plan, run
from slmops.stages.sizes import int4_bytes, sizes
from slmops.training.estimate import Shape
from tests.models.architectures import ARCHITECTURES, Architecture
from tests.stages.tiny_project import write_config, write_project
from tests.tiny import write_model


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)
def test_parameters_are_those_of_the_models_matrices(architecture: Architecture, tmp_path: Path) -> None:
    model = load_causal_lm(architecture.write(tmp_path / "model"))
    matrices = {id(weight): weight.numel() for weight in model.parameters() if weight.dim() == 2}
    assert Shape.of(model.config.to_dict()).weights == sum(matrices.values())


def test_the_student_that_is_asked_for_has_the_size_that_was_told(tmp_path: Path) -> None:
    """Once the teacher has answered, whose answers have tokens, too; before that, at least nearly."""
    student = "{from: teacher, layers: 1, units: 64, kv_heads: 1, vocabulary: 1}"
    project = Project.load(write_project(tmp_path, student=student))
    guessed = next(option for option in sizes(project) if option.asked)
    run(project, until="pruned")
    options = sizes(project)
    asked = next(option for option in options if option.asked)
    folder = open_store(project).open("tiny/pruned@latest")
    model, kept = load_causal_lm(folder), len(read_kept(folder) or ())
    assert asked.parameters == sum(weight.numel() for weight in model.parameters() if weight.dim() == 2)
    assert 256 < guessed.vocabulary <= asked.vocabulary == kept
    assert asked.layers == 1 and 0 < asked.work < 1 and 0 < asked.latency_ms < options[0].latency_ms
    assert [option.layers for option in options] == sorted((option.layers for option in options), reverse=True)


def test_a_plan_tells_the_memory_of_what_learns(tmp_path: Path) -> None:
    def told(**changes: str) -> dict[str, float | None]:
        items = plan(Project.load(write_config(tmp_path, **changes)))
        return {item.stage.name: item.estimate.memory_mb for item in items}

    write_project(tmp_path)
    rounded, plain = told(), told(optimization="[]", evaluation="{compare: [student]}")
    beside = told(distillation="{representation: {values: 1.0}}")
    assert [name for name, memory in rounded.items() if memory] == ["teacher", "student"]
    assert rounded["teacher"] == plain["teacher"] == beside["teacher"]
    assert (plain["student"] or 0) < (rounded["student"] or 0) < (beside["student"] or 0)
    rounds = told(student="{from: teacher, layers: 1, rounds: 2}")
    assert (rounds["student_1"] or 0) > (rounds["student"] or 0)
    write_model(tmp_path / "other", "llama", ("<|im_start|>", "<|im_end|>"), hidden_size=512)
    assert (told(student="{model: 'file:other'}")["student"] or 0) > (rounds["teacher"] or 0)


def test_the_shipped_students_bytes_are_as_predicted() -> None:
    """The figures of benchmarks/results and docs/decisions/0007: 8 layers with all tokens as int4 were 37.7 MB."""
    shape = Shape(576, 1536, 8, 9, 192, 49152, tied=True)
    assert int4_bytes(shape, 8192, 32) == pytest.approx(37.7e6, rel=0.02)


def test_a_config_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_project(tmp_path)
    (tmp_path / "model" / "config.json").write_text('{"n_head": 2}')
    with pytest.raises(ModelError, match=r"no '\w+' — choose a model of a supported family"):
        sizes(Project.load(path))
