"""Logits chunk by chunk teach what logits all at once do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slmops.models.forward import head_logits, load_causal_lm
from slmops.training.chunked_head import chunked_losses
from slmops.training.losses import Taught, TokenLoss, cross_entropy, forward_kl, mix


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("loss", [cross_entropy, forward_kl, mix({"forward_kl": 0.9, "cross_entropy": 0.1})])
def test_losses_and_gradients_are_those_of_all_at_once(tiny_model: Path, chunk: int, loss: TokenLoss) -> None:
    torch.manual_seed(0)
    model = load_causal_lm(tiny_model)
    model.requires_grad_(False)
    states, ids = torch.randn(7, model.config.hidden_size, requires_grad=True), torch.arange(7) + 20
    likely = torch.randn(7, model.config.vocab_size).log_softmax(-1).topk(4)
    taught = Taught(likely.indices, likely.values, torch.tensor([1.0, 0, 1, 1, 0, 1, 1]), 2.0)
    whole = loss(head_logits(model, states), ids, taught)
    whole.sum().backward()
    losses, gradient = chunked_losses(model, states, ids, taught, loss, chunk)
    assert torch.allclose(losses, whole.detach(), atol=1e-6)
    assert states.grad is not None
    assert torch.allclose(gradient, states.grad, atol=1e-6)
    assert not losses.requires_grad
