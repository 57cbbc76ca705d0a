"""Packed batches teach exactly what padded batches teach."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slmops.models.forward import load_causal_lm, target_logits
from slmops.models.packing import Example, pack, shared_prefix

ids = st.lists(st.integers(3, 250), min_size=1, max_size=9).map(tuple)


def padded_gradient(model: torch.nn.Module, examples: list[Example]) -> dict[str, torch.Tensor]:
    """The gradient of the summed loss with every example alone in a row."""
    model.zero_grad()
    for example in examples:
        whole = torch.tensor([sum(example.path, ())])
        labels = torch.full_like(whole, -100)
        start = whole.shape[1] - len(example.learn)
        for offset, learned in enumerate(example.learn):
            if learned:
                labels[0, start + offset] = whole[0, start + offset]
        logits = model(input_ids=whole).logits[0, :-1]
        torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="sum", ignore_index=-100).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def packed_gradient(model: torch.nn.Module, examples: list[Example], tokens: int, rows: int) -> dict[str, torch.Tensor]:
    model.zero_grad()
    for batch in pack(examples, tokens, rows):
        logits = target_logits(model, batch)
        torch.nn.functional.cross_entropy(logits, batch.target_ids, reduction="sum").backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def relative_difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    difference = torch.cat([(first[name] - second[name]).flatten() for name in first])
    return float(difference.norm() / torch.cat([value.flatten() for value in first.values()]).norm())


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> torch.nn.Module:
    return load_causal_lm(tiny_model)


@settings(max_examples=25)
@given(
    instruction=ids,
    messages=st.lists(ids, min_size=1, max_size=6),
    labels=st.lists(ids, min_size=1, max_size=3),
    tokens=st.integers(8, 120),
    rows=st.integers(1, 3),
)
def test_the_gradient_equals_that_of_padded_batches_for_any_tree(
    model: torch.nn.Module,
    instruction: tuple[int, ...],
    messages: list[tuple[int, ...]],
    labels: list[tuple[int, ...]],
    tokens: int,
    rows: int,
) -> None:
    examples = [
        Example(f"{m}/{n}", (instruction, message, label), (True,) * len(label))
        for m, message in enumerate(messages)
        for n, label in enumerate(labels)
    ]
    expected = padded_gradient(model, examples)
    assert relative_difference(expected, packed_gradient(model, examples, tokens, rows)) <= 1e-5


def test_a_packed_sequence_holds_the_instruction_once() -> None:
    instruction = tuple(range(10, 110))
    examples = [Example(str(n), (instruction, (n, n + 1, 5)), (False, True, True)) for n in range(20)]
    (batch,) = list(pack(examples, 1024))
    assert batch.ids.shape == (1, 100 + 20 * 3)
    assert len(batch.target_ids) == 40


def test_no_sequence_is_longer_than_asked_and_no_example_is_lost() -> None:
    examples = [Example(str(n), ((7,) * 50, (n,) * (n % 13 + 1)), (True,) * (n % 13 + 1)) for n in range(60)]
    batches = list(pack(examples, 128))
    assert all(batch.ids.shape[1] <= 128 for batch in batches)
    assert sorted(int(row) for batch in batches for row in batch.rows) == list(range(60))


def test_a_short_common_beginning_is_not_worth_a_segment() -> None:
    assert shared_prefix([(1, 2, 3, 4), (1, 2, 5)]) == 0
    assert shared_prefix([(*range(20), 1), (*range(20), 2)]) == 20


@pytest.mark.real
def test_the_gradient_equals_padded_batches_on_the_default_model(default_model: Path) -> None:
    model = load_causal_lm(default_model)
    model.model.layers = model.model.layers[:3]
    model.config.num_hidden_layers = 3
    generator = torch.Generator().manual_seed(1)

    def random_ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(20, 40_000, (count,), generator=generator).tolist())

    instruction = random_ids(142)
    examples = [
        Example(str(n), (instruction, random_ids(20 + n) + random_ids(4)), (False,) * (20 + n) + (True,) * 4)
        for n in range(8)
    ]
    expected = padded_gradient(model, examples)
    assert relative_difference(expected, packed_gradient(model, examples, 1024, 1)) <= 1e-5
