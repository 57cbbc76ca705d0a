"""A model from scratch has the architecture and the sizes that are asked for, in every family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slmops.core.errors import ModelError
from slmops.models.folder import read_json
from slmops.models.forward import load_causal_lm
from slmops.optimization.fresh import fresh_model
from slmops.training.estimate import Shape
from tests.models.architectures import ARCHITECTURES, Architecture
from tests.tiny import write_model

SIZES = {"layers": 1, "units": 32, "kv_heads": 1, "heads": 1, "width": 32}


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)
def test_it_is_of_every_family_and_can_be_read_again(architecture: Architecture, tmp_path: Path) -> None:
    source = architecture.write(tmp_path / "source")
    fixed = {"kv_heads", "heads", "width"} if architecture.name == "phi-4-mini" else set()  # by its rotary embeddings
    sizes = {name: size for name, size in SIZES.items() if name not in fixed}
    model = fresh_model(source, sizes, 7)
    model.save_pretrained(tmp_path / "fresh")
    before, shape = (Shape.of(read_json(tmp_path / name / "config.json")) for name in ("source", "fresh"))
    assert (shape.layers, shape.inner, shape.width) == (1, 32, before.width if fixed else 32)
    assert (shape.key_width, shape.vocabulary) == (before.key_width, before.vocabulary)
    assert shape.queries == before.queries // (1 if fixed else 2)
    again, ids = load_causal_lm(tmp_path / "fresh"), torch.arange(20)[None]
    with torch.inference_mode():
        torch.testing.assert_close(again(input_ids=ids).logits, model(input_ids=ids).logits)


def test_its_weights_are_the_seeds(tiny_model: Path) -> None:
    one, same, other = (
        fresh_model(tiny_model, {"kv_heads": 1}, seed).get_input_embeddings().weight for seed in (7, 7, 8)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_what_an_architecture_has_not_is_told(tmp_path: Path) -> None:
    write_model(tmp_path, "gpt2", ("<|im_start|>", "<|im_end|>"))
    assert fresh_model(tmp_path, {"layers": 1}, 7).config.num_hidden_layers == 1
    with pytest.raises(ModelError, match=r"of gpt2 only the number of layers can be chosen — remove student\.width"):
        fresh_model(tmp_path, {"layers": 1, "width": 32}, 7)
