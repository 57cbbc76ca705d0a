"""The model that computes follows the one that learns."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from slmops.models.forward import load_causal_lm
from slmops.optimization.int4 import round_to_int4
from slmops.training.computing import Computing
from slmops.training.config import TrainConfig
from slmops.training.methods import merge, prepare


def halve(weight: torch.Tensor) -> torch.Tensor:
    return weight / 2


@pytest.fixture
def model(tiny_model: Path) -> torch.nn.Module:
    return load_causal_lm(tiny_model).requires_grad_(False)


def test_in_fp32_the_model_itself_computes(model: torch.nn.Module) -> None:
    computing = Computing(model, "float32")
    computing.give_weights(rounded=False)
    assert computing.model is model


@pytest.mark.parametrize("number_format", ["float32", "bfloat16"])
def test_rounding_begins_and_ends_for_matrices_that_learn(model: torch.nn.Module, number_format: str) -> None:
    model.requires_grad_(True)
    computing = Computing(model, number_format, halve)  # type: ignore[arg-type]
    pairs = list(zip(model.named_parameters(), computing.model.parameters(), strict=True))
    for rounded in (True, False):
        computing.give_weights(rounded)
        for (name, own), copied in pairs:
            expected = own / 2 if rounded and "norm" not in name else own
            torch.testing.assert_close(copied.float(), expected.to(copied.dtype).float(), msg=name)


def test_matrices_that_do_not_learn_are_rounded_from_the_beginning(model: torch.nn.Module) -> None:
    computing = Computing(model, "float32", halve)
    for (name, own), copied in zip(model.named_parameters(), computing.model.parameters(), strict=True):
        torch.testing.assert_close(copied, own if "norm" in name else own / 2, msg=name)


def test_only_what_learns_is_given_again(model: torch.nn.Module) -> None:
    (first, *_, last) = list(model.parameters())
    last.requires_grad_(True)
    computing = Computing(model, "bfloat16")
    copied = list(computing.model.parameters())
    first.data.fill_(3.0)
    last.data.fill_(3.0)
    computing.give_weights(rounded=False)
    assert (copied[-1] == 3).all()
    assert not (copied[0] == 3).all()


def test_gradients_of_the_copy_add_up_in_fp32(model: torch.nn.Module) -> None:
    last = list(model.parameters())[-1].requires_grad_(True)
    computing = Computing(model, "bfloat16")
    copied = list(computing.model.parameters())[-1]
    for _ in range(2):
        copied.grad = torch.full_like(copied, 2**-9)
        computing.take_gradients()
        assert copied.grad is None
    copied.grad = torch.ones_like(copied)
    computing.take_gradients()
    assert last.grad is not None and last.grad.dtype == torch.float32
    assert (last.grad == 1 + 2**-8).all()  # bf16 would have lost it


def test_adapters_learn_under_the_rounding_of_what_they_are_merged_into(tiny_model: Path) -> None:
    rounding = partial(round_to_int4, block_size=16)
    model = prepare(load_causal_lm(tiny_model), TrainConfig(method="lora", rank=3, upper_layers=1), 1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    computing = Computing(model, "float32", rounding)
    computing.give_weights(rounded=True)
    ids = torch.arange(20, 60)[None]
    learned = computing.model(ids).logits
    learned.sum().backward()
    computing.take_gradients()
    assert all(weight.grad is not None and weight.grad.any() for weight in computing.learning)

    ships = merge(model)
    for part in ships.modules():
        if isinstance(part, torch.nn.Linear | torch.nn.Embedding):
            part.weight.data = rounding(part.weight.data)
    torch.testing.assert_close(learned, ships(ids).logits, atol=1e-4, rtol=1e-4)
