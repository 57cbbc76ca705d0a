"""Hidden states beneath the layers that learn: the same result and the same gradient as without keeping them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slmops.models.forward import last_states, load_causal_lm
from slmops.models.packing import pack
from slmops.training.config import TrainConfig
from slmops.training.frozen import Reader, frozen_layers
from slmops.training.methods import prepare
from tests.models.architectures import ARCHITECTURES, Architecture
from tests.training.rows import rows


def open_reader(model: torch.nn.Module, folder: Path) -> Reader:
    return Reader(model, rows(23), folder / "frozen", lambda share: None)


def gradients(model: torch.nn.Module, states: torch.Tensor) -> list[torch.Tensor]:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return list(torch.autograd.grad(states.square().sum(), weights, allow_unused=True))


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_states_and_gradients_are_those_of_the_whole_model(
    architecture: Architecture, method: str, tmp_path: Path
) -> None:
    config = TrainConfig.model_validate({"method": method, "upper_layers": 0.5})
    model = prepare(load_causal_lm(architecture.write(tmp_path / "model")), config, 1)
    reader = open_reader(model, tmp_path)
    for batch in pack(rows(23)[5:17], 64, 2):
        ours, plain = reader.last_states(batch), last_states(model, batch)
        real = (batch.segments >= 0).flatten()
        torch.testing.assert_close(ours[real], plain[real], rtol=1e-4, atol=1e-4)
        for own, expected in zip(gradients(model, ours[real]), gradients(model, plain[real]), strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_what_is_learned_above_is_read_and_what_lies_below_was_kept(tiny_model: Path, tmp_path: Path) -> None:
    model = prepare(load_causal_lm(tiny_model), TrainConfig(method="full", upper_layers=0.5), 1)
    reader = open_reader(model, tmp_path)
    batch = next(pack(rows(4), 256))
    before = reader.last_states(batch)
    layers = model.model.layers  # type: ignore[union-attr]
    with torch.no_grad():
        layers[0].mlp.up_proj.weight.zero_()  # type: ignore[index,union-attr]
        assert torch.equal(reader.last_states(batch), before)
        layers[-1].mlp.up_proj.weight.zero_()  # type: ignore[index,union-attr]
        assert not torch.equal(reader.last_states(batch), before)


def test_a_layer_is_frozen_if_nothing_learns_in_or_below_it(tiny_model: Path) -> None:
    model = load_causal_lm(tiny_model).requires_grad_(False)
    layers = model.model.layers  # type: ignore[union-attr]
    count = len(layers)  # type: ignore[arg-type]
    assert frozen_layers(model) == count - 1  # the last one always computes
    next(layers[-1].parameters()).requires_grad_(True)  # type: ignore[index,union-attr]
    assert frozen_layers(model) == count - 1
    next(layers[0].parameters()).requires_grad_(True)  # type: ignore[index,union-attr]
    assert frozen_layers(model) == 0
    model.requires_grad_(False)
    model.get_input_embeddings().requires_grad_(True)  # type: ignore[operator]
    assert frozen_layers(model) == 0
