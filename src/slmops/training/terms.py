"""The terms that a loss is made of, and how hard each pulls: a term whose gradient another drowns teaches nothing.

In come hidden states of a batch and what is to be learned there; out go terms beside the tokens' own losses, and the
norm of every term's gradient. Knows no optimizer and no schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from slmops.models.packing import Batch
from slmops.models.tokenizer import Ids
from slmops.training.chunked_head import chunk_of, chunked_losses
from slmops.training.config import TrainConfig
from slmops.training.contrastive import contrastive_loss
from slmops.training.losses import Mixture, Taught, TokenLoss
from slmops.training.replication import replicated_loss

if TYPE_CHECKING:
    from torch import Tensor, nn


def terms_beside(
    model: nn.Module,
    states: Tensor,
    batch: Batch,
    taught: Taught | None,
    begins: Ids,
    config: TrainConfig,
    *,
    targets: int,
    rows: int,
) -> dict[str, Tensor]:
    """What is learned of a batch beside its target tokens, weighed: its part of the mean over the `targets` and `rows`
    of a whole step. `states` are (sequence · time, width) last hidden states."""
    terms = {}
    if begins and config.target_replication:
        replicated = replicated_loss(model, states, batch, begins, taught)
        terms["target_replication"] = config.target_replication * replicated / targets
    if config.contrastive:
        alike = contrastive_loss(states, batch, config.contrastive)
        terms["contrastive"] = config.contrastive.weight * alike / rows
    return terms


def gradient_norms(
    model: nn.Module,
    states: Tensor,
    batch: Batch,
    taught: Taught | None,
    loss: TokenLoss,
    begins: Ids,
    config: TrainConfig,
) -> dict[str, float]:
    """The norm of each weighed term's gradient at the last hidden `states` of a batch."""
    import torch

    leaf, targets = states.detach().clone().requires_grad_(), len(batch.target_ids)
    beside = terms_beside(model, leaf, batch, taught, begins, config, targets=targets, rows=len(batch.rows))
    norms = {name: float(torch.autograd.grad(term, leaf)[0].norm()) for name, term in beside.items()}
    for name, (weight, term) in _of_tokens(loss).items():
        at, ids = leaf.detach()[batch.target_at], batch.target_ids
        gradient = chunked_losses(model, at, ids, taught, term, chunk_of(config))[1]
        norms[name] = weight * float(gradient.norm()) / targets
    return norms


def has_several(loss: TokenLoss, begins: Ids, config: TrainConfig) -> bool:
    """Whether there is more than one term."""
    beside = bool(begins and config.target_replication) + bool(config.contrastive)
    return len(_of_tokens(loss)) + beside > 1


def _of_tokens(loss: TokenLoss) -> Mapping[str, tuple[float, TokenLoss]]:
    return loss.terms if isinstance(loss, Mixture) else {"loss": (1.0, loss)}
