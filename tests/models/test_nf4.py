"""Linear layers in four bits: what they cost in accuracy and bytes, and that gradients pass through."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from slmops.models.nf4 import NF4Linear, from_nf4, to_nf4


def layer(outputs: int, inputs: int, seed: int = 0, bias: bool = True) -> nn.Linear:
    torch.manual_seed(seed)
    made = nn.Linear(inputs, outputs, bias=bias)
    nn.init.normal_(made.weight, std=0.05)
    return made


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 100))
def test_every_weight_is_within_half_a_step_of_what_it_was(outputs: int, inputs: int, seed: int) -> None:
    plain = layer(outputs, inputs, seed)
    small = NF4Linear(plain)
    scale = plain.weight.abs().max()
    assert small.weight.shape == plain.weight.shape
    assert (small.weight - plain.weight).abs().max() <= 0.16 * scale  # half the widest step: −1 to −0.696
    assert (small.weight - plain.weight).pow(2).mean() < 0.1 * plain.weight.pow(2).mean() + 1e-12
    again = NF4Linear(small.to_linear())
    assert torch.equal(again.packed, small.packed)


def test_a_weight_takes_an_eighth_of_its_bytes_and_a_scale_for_64() -> None:
    small = NF4Linear(layer(256, 512, bias=False))
    assert sum(part.numel() * part.element_size() for part in small.buffers()) == 256 * 512 // 2 + 256 * 512 // 64 * 4
    assert not list(small.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_computes_and_passes_gradients_as_the_layer_it_becomes(dtype: torch.dtype) -> None:
    small = NF4Linear(layer(24, 40))
    small.bias.data = small.bias.data.to(dtype)
    plain = copy.deepcopy(small).to_linear().to(dtype)
    found = []
    for one in (small, plain):
        states = torch.linspace(-1, 1, 80, dtype=dtype).view(2, 40).requires_grad_()
        out = one(states)
        out.float().square().sum().backward()
        found.append((out.detach(), states.grad))
    for ours, right in zip(*found, strict=True):
        assert torch.allclose(ours.float(), right.float(), atol=1e-5 if dtype == torch.float32 else 0.05)


def test_all_linear_layers_of_a_model_change_places_and_back() -> None:
    model = nn.Sequential(layer(8, 64), nn.ReLU(), nn.Sequential(layer(4, 8)))
    states = torch.randn(3, 64)
    to_nf4(model)
    assert [type(part) for part in model.modules() if isinstance(part, nn.Linear)] == [NF4Linear, NF4Linear]
    small = model(states)
    from_nf4(model)
    assert [type(part) for part in model.modules() if isinstance(part, nn.Linear)] == [nn.Linear, nn.Linear]
    assert torch.allclose(model(states), small, atol=1e-6)
