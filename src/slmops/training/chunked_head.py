"""The output head over all of the vocabulary, some targets at a time: their logits never exist all at once.

A hundred thousand tokens for each of a thousand targets would take more memory than the model. Chunk by chunk they are
computed, held against what is learned, and forgotten; what stays is the gradient at the hidden states, which is exactly
that of all at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from slmops.models.forward import head_logits
from slmops.training.config import TrainConfig
from slmops.training.losses import Taught, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor, nn

CHUNK, SMALL_CHUNK = 256, 64  # targets whose logits exist at once


def chunk_of(config: TrainConfig) -> int:
    """How many targets' logits exist at once: fewer where activations are computed twice, for memory is short there."""
    return SMALL_CHUNK if config.gradient_checkpointing else CHUNK


def losses_at(
    model: nn.Module, states: Tensor, target_ids: Tensor, taught: Taught | None, loss: TokenLoss, chunk: int
) -> tuple[Tensor, Tensor]:
    """(target,) losses at (target, width) `states`, and a scalar whose gradient is that of their sum. Where the head
    itself learns, it is computed at once."""
    if any(weight.requires_grad for weight in model.get_output_embeddings().parameters()):
        losses = loss(head_logits(model, states), target_ids, taught)
        return losses, losses.sum()
    losses, gradient = chunked_losses(model, states, target_ids, taught, loss, chunk)
    return losses, (states * gradient).sum()


def chunked_losses(
    model: nn.Module, states: Tensor, target_ids: Tensor, taught: Taught | None, loss: TokenLoss, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """(target,) losses without a gradient, and the (target, width) gradient of their sum at `states`. The head itself
    does not learn."""
    import torch

    losses, gradients = [], []
    for start in range(0, len(target_ids), chunk):
        part = slice(start, start + chunk)
        leaf = states[part].detach().requires_grad_()
        value = loss(head_logits(model, leaf), target_ids[part], taught and _part(taught, part))
        gradients.append(torch.autograd.grad(value.sum(), leaf)[0])
        losses.append(value.detach())
    return torch.cat(losses), torch.cat(gradients)


def _part(taught: Taught, part: slice) -> Taught:
    return replace(taught, ids=taught.ids[part], logprobs=taught.logprobs[part], trusted=taught.trusted[part])
