"""What a training needs is estimated from the model's shape, and refused with a remedy where there is no room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from slmops.core.errors import ModelError, SlmopsError
from slmops.models.folder import read_json
from slmops.models.forward import load_causal_lm
from slmops.training.config import TrainConfig
from slmops.training.estimate import Lessons, Needs, Shape, cheaper, check_room, training_needs
from slmops.training.methods import prepare
from tests.models.architectures import ARCHITECTURES
from tests.training.rows import rows

BIG = Shape(width=576, inner=1536, layers=30, heads=9, key_width=192, vocabulary=49152, tied=True)
ROOM = Needs(1e12, 1e12)
WORK = Path("work")


def test_a_shape_is_read_whatever_its_sizes_are_called() -> None:
    gpt2 = Shape.of({"n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None, "vocab_size": 50257})
    assert (gpt2.width, gpt2.inner, gpt2.layers, gpt2.heads, gpt2.key_width) == (768, 3072, 12, 12, 768)
    text = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    assert Shape.of({"text_config": text | {"vocab_size": 400}, "vision_config": {}}).inner == 96
    with pytest.raises(ModelError, match=r"config\.json has no 'intermediate_size'"):
        Shape.of({"hidden_size": 64, "num_attention_heads": 4, "vocab_size": 400})


def config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate({"max_tokens": 1024, **changes})


LESSONS = Lessons.like(500, 200, 0, 120, config())


def memory(**changes: object) -> float:
    return training_needs(BIG, config(**changes), LESSONS, "float32").memory


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)
def test_a_shape_counts_the_weights_of_every_family(architecture, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = architecture.write(tmp_path)
    shape = Shape.of(read_json(folder / "config.json"))
    counted = sum(weight.numel() for weight in load_causal_lm(folder).parameters())
    assert shape.weights == pytest.approx(counted, rel=0.05)


def test_what_learns_is_counted_as_it_is(tiny_model: Path) -> None:
    shape = Shape.of(read_json(tiny_model / "config.json"))
    lessons = Lessons.of(rows(20), config(), closed=True)
    head = {"method": "lora", "rank": 4, "modules_to_save": ["lm_head"]}
    for options in ({"method": "lora", "rank": 4}, {"method": "bottleneck"}, {"method": "full"}, head):
        settings = config(**options, upper_layers=0.5)
        model = prepare(load_causal_lm(tiny_model), settings, 1)
        learned = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        frozen = lessons.tokens * shape.width * 4
        written = training_needs(shape, settings, lessons, "float32").disk - frozen
        assert written == pytest.approx(28 * learned, rel=0.05)  # with two moments, twice; how they began
        best = settings.model_copy(update={"keep": "best"})
        assert training_needs(shape, best, lessons, "float32").disk - frozen - written == pytest.approx(
            4 * learned, rel=0.05
        )


def test_a_lesson_counts_what_rows_share_once() -> None:
    lessons = Lessons.of(rows(20), config(batch_size=8), closed=True)
    assert lessons.tokens == 24 + 20 * 6
    assert (lessons.row, lessons.packed, lessons.targets) == (30, 24 + 8 * 6, 36)
    assert lessons.step_tokens == 24 + 8 * 6
    assert Lessons.of(rows(20), config(batch_size=20, max_tokens=64), closed=True).step_tokens == 3 * 24 + 20 * 6


def test_what_saves_memory_is_estimated_to() -> None:
    whole = memory(method="full", upper_layers=1)
    assert memory(method="full", upper_layers=0.5) < whole
    assert memory(method="full", upper_layers=1, gradient_checkpointing=True) < 0.6 * whole
    assert memory(method="qlora", upper_layers=1, gradient_checkpointing=True) < 0.35 * whole
    assert memory(method="lora") < memory(method="full")
    learning_head = memory(method="lora", modules_to_save=["lm_head"]) - memory(method="lora")
    assert learning_head > 16 * BIG.vocabulary * BIG.width  # a copy, its gradient, two moments; and all logits at once
    assert training_needs(BIG, config(), LESSONS, "float32", rounded=True).memory > memory()


@pytest.mark.parametrize("options", [{"method": "full", "quantization_aware": 0.5}, {"method": "lora"}])
def test_what_is_proposed_can_be_written(options: dict[str, object]) -> None:
    ways = list(cheaper(config(**options)))
    assert ways
    for line, way in ways:
        written = YAML(typ="safe").load(f"{{{line}}}")
        assert config(**options).tried(written) == way


def test_what_there_is_no_room_for_is_refused_with_what_would_fit() -> None:
    asked = config(method="full", upper_layers=1)

    def needs(settings: TrainConfig) -> Needs:
        lessons = replace(LESSONS, packed=min(LESSONS.packed, settings.max_tokens))
        return training_needs(BIG, settings, lessons, "float32")

    check_room(asked, needs, ROOM, WORK)
    with pytest.raises(SlmopsError, match=r"GB are free — write train: \{max_tokens: 512\}, or try with --force"):
        check_room(asked, needs, replace(ROOM, memory=needs(asked).memory - 1), WORK)
    spare = asked.model_copy(update={"max_tokens": 256, "gradient_checkpointing": True, "method": "lora"})
    with pytest.raises(SlmopsError, match=r"max_tokens: 256, gradient_checkpointing: true, method: lora\}"):
        check_room(asked, needs, replace(ROOM, memory=needs(spare).memory), WORK)
    with pytest.raises(SlmopsError, match="choose a smaller model"):
        check_room(asked, needs, replace(ROOM, memory=1e8), WORK)
    with pytest.raises(SlmopsError, match=r"work: .* GB on disk, 0\.0 GB are free — free some there"):
        check_room(asked, needs, replace(ROOM, disk=1e6), WORK)
