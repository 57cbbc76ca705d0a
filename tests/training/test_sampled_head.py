"""A sample of the vocabulary stands for all of it: the same loss and gradient, up to chance."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slmops.models.forward import head_logits, last_states, load_causal_lm
from slmops.models.packing import Batch, pack
from slmops.training.losses import Taught, cross_entropy, mix
from slmops.training.sampled_head import sampled_logits
from tests.training.rows import rows

LOSS = mix({"forward_kl": 0.9, "cross_entropy": 0.1})


@pytest.fixture
def model(tiny_model: Path) -> torch.nn.Module:
    return load_causal_lm(tiny_model)


def taught_of(batch: Batch, temperature: float = 1.0) -> Taught:
    """A teacher that gives the answer 0.6, another token 0.3 and all others the rest."""
    ids = torch.stack([batch.target_ids, batch.target_ids + 7], 1)
    count = len(ids)
    return Taught(ids, torch.tensor([0.6, 0.3]).log().expand(count, 2), torch.ones(count), temperature)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_with_every_token_drawn_often_the_loss_is_nearly_exact(model: torch.nn.Module, temperature: float) -> None:
    batch = next(pack(rows(8), 512))
    at, taught = last_states(model, batch)[batch.target_at].detach().requires_grad_(), taught_of(batch, temperature)
    exact = LOSS(head_logits(model, at), batch.target_ids, taught)
    sampled = LOSS(*sampled_logits(model, at, batch.target_ids, taught, 200_000, (1, 2)))
    torch.testing.assert_close(sampled, exact, rtol=0.02, atol=0.02)
    ours, plain = (torch.autograd.grad(loss.sum(), at)[0] for loss in (sampled, exact))
    assert float((ours - plain).norm() / plain.norm()) < 0.05


def test_over_many_steps_the_normaliser_is_right(model: torch.nn.Module) -> None:
    """exp(−loss) is answer / normaliser; the normaliser's estimate is unbiased."""
    batch = next(pack(rows(4), 512))
    with torch.no_grad():
        at = last_states(model, batch)[batch.target_at]
        exact = head_logits(model, at).exp().sum(1)
        drawn = torch.stack(
            [sampled_logits(model, at, batch.target_ids, None, 24, (7, step))[0].exp().sum(1) for step in range(2000)]
        )
    error = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - exact).abs() < 5 * error + 1e-3 * exact).all()


def test_the_same_seed_draws_the_same_tokens(model: torch.nn.Module) -> None:
    batch = next(pack(rows(4), 512))
    with torch.no_grad():
        at = last_states(model, batch)[batch.target_at]
        losses = [
            cross_entropy(*sampled_logits(model, at, batch.target_ids, None, 16, seed)) for seed in ((1,), (1,), (2,))
        ]
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])
