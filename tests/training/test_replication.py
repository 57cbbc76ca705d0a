"""The answer is asked for all along a text, with weights that grow and sum to one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slmops.models.forward import last_states, load_causal_lm, target_logits
from slmops.models.packing import Example, pack
from slmops.training.losses import Taught
from slmops.training.replication import Begins, replicated_loss
from tests.training.rows import rows

BEGINS = (100, 101, 102, 103, 104)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> torch.nn.Module:
    return load_causal_lm(tiny_model)


def loss_of(model: torch.nn.Module, examples: list[Example], taught: Taught | None = None, behind: int = 0) -> float:
    (batch,) = pack(examples, 4096)
    with torch.inference_mode():
        return float(replicated_loss(model, last_states(model, batch), batch, Begins(BEGINS, behind), taught))


def said_after(model: torch.nn.Module, example: Example, tokens: int) -> torch.Tensor:
    """Log-probabilities of BEGINS after the first `tokens` tokens of the example's last segment."""
    *before, last = example.path
    path = (*before, (*last[:tokens], 0))
    (batch,) = pack([Example("", path, (False,) * tokens + (True,))], 4096)
    with torch.inference_mode():
        return torch.log_softmax(target_logits(model, batch)[0, list(BEGINS)], -1)


@pytest.mark.parametrize("instruction", [(), tuple(range(20, 44))])
def test_it_is_the_weighted_surprise_at_every_token_of_the_text(
    model: torch.nn.Module, instruction: tuple[int, ...]
) -> None:
    examples = rows(3, instruction)
    expected = 0.0
    for example in examples:
        begin = example.learn.index(True)
        answer = BEGINS.index(example.path[-1][begin])
        weights = [step + 1 for step in range(begin - 1)]
        said = [float(said_after(model, example, step + 1)[answer]) for step in range(begin - 1)]
        expected -= sum(w * s for w, s in zip(weights, said, strict=True)) / sum(weights)
    assert loss_of(model, examples) == pytest.approx(expected, rel=1e-5)


def test_where_all_answers_begin_alike_it_asks_for_what_tells_them_apart(model: torch.nn.Module) -> None:
    alike = [
        Example(row.row, (*row.path[:-1], (*row.path[-1][:3], 50, *row.path[-1][3:])), (*row.learn, True))
        for row in rows(4)
    ]
    assert loss_of(model, alike, behind=1) == pytest.approx(loss_of(model, rows(4)), rel=1e-5)


def test_an_answer_that_ends_before_it_tells_them_apart_is_left_out(model: torch.nn.Module) -> None:
    """As a student may write it."""
    *others, row = rows(4)
    ended = Example(row.row, (*row.path[:-1], (*row.path[-1][:3], 2)), row.learn[:4])
    for examples in ([*others, ended], [ended, *others]):
        assert sum(ended.learn) == 1
        assert loss_of(model, examples, behind=1) == pytest.approx(loss_of(model, others, behind=1), rel=1e-5)


def test_a_taught_distribution_takes_the_answers_place(model: torch.nn.Module) -> None:
    examples = rows(3)
    (batch,) = pack(examples, 4096)
    count = len(batch.target_ids)
    ids = torch.tensor([list(BEGINS)] * count)
    uniform = Taught(ids, torch.full((count, 5), 0.2).log(), torch.ones(count), 1.0)
    certain = Taught(batch.target_ids[:, None], torch.zeros(count, 1), torch.ones(count), 1.0)
    assert loss_of(model, examples, certain) == pytest.approx(loss_of(model, examples), rel=1e-5)
    assert loss_of(model, examples, uniform) > loss_of(model, examples) - 5  # finite, and not the same
    assert loss_of(model, examples, uniform) != pytest.approx(loss_of(model, examples), rel=1e-3)


def test_an_answer_without_a_text_before_it_adds_nothing(model: torch.nn.Module) -> None:
    example = Example("row", ((5, 6, 7), (100, 2)), (True, True))
    assert loss_of(model, [example]) == 0.0
