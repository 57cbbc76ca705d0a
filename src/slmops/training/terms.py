"""The terms that a loss is made of, and how hard each pulls: a term whose gradient another drowns teaches nothing.

In come what a model computes for a batch and what is to be learned there; out go terms beside the tokens' own losses,
and the norm of every term's gradient. Knows no optimizer and no schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmops.core.errors import need
from slmops.models.inside import Inside, watched
from slmops.models.packing import Batch
from slmops.training.chunked_head import chunk_of, losses_at
from slmops.training.config import TrainConfig
from slmops.training.contrastive import contrastive_loss
from slmops.training.losses import Mixture, Taught, TokenLoss
from slmops.training.replication import FREE, Begins, replicated_loss
from slmops.training.representation import Representation

if TYPE_CHECKING:
    from torch import Tensor, nn

Read = Callable[[Batch], "Tensor"]  # a batch → its flat last hidden states
Teach = Callable[[Batch], Taught]


@dataclass(frozen=True)
class Teaching:
    """What is learned: by which loss of target tokens, of whom; how answers can `begin`, where they are few; and what
    goes on inside the teacher."""

    loss: TokenLoss
    teach: Teach | None = None
    begins: Begins = FREE
    representation: Representation | None = None

    @property
    def sorts(self) -> bool:
        """Whether a loss is of probabilities in their order, which drawn tokens would change."""
        return isinstance(self.loss, Mixture) and "sorted_distance" in self.loss.terms

    def taught(self, batch: Batch) -> Taught | None:
        return self.teach(batch) if self.teach else None

    def read(self, model: nn.Module, batch: Batch, read: Read) -> tuple[Tensor, Inside | None]:
        """The last hidden states, and what goes on inside where that is learned."""
        with watched(model) if self.representation else nullcontext() as inside:
            return read(batch), inside


def terms_beside(
    model: nn.Module,
    states: Tensor,
    inside: Inside | None,
    batch: Batch,
    taught: Taught | None,
    teaching: Teaching,
    config: TrainConfig,
    *,
    targets: int,
    rows: int,
) -> dict[str, Tensor]:
    """What is learned of a batch beside its target tokens, weighed: its part of the mean over the `targets` and `rows`
    of a whole step. `states` are (sequence · time, width) last hidden states."""
    terms = {}
    if teaching.begins and config.target_replication:
        replicated = replicated_loss(model, states, batch, teaching.begins, taught)
        terms["target_replication"] = config.target_replication * replicated / targets
    if config.contrastive:
        alike = contrastive_loss(states, batch, config.contrastive)
        terms["contrastive"] = config.contrastive.weight * alike / rows
    if teaching.representation and inside:
        terms |= teaching.representation.terms(model, inside, batch, rows=rows)
    return terms


def gradient_norms(
    model: nn.Module, batch: Batch, read: Read, teaching: Teaching, config: TrainConfig
) -> dict[str, float]:
    """The norm of each weighed term's gradient over the weights that learn, for the mean over a batch."""
    torch = need("torch", "train")
    (states, inside), taught = teaching.read(model, batch, read), teaching.taught(batch)
    targets, rows = len(batch.target_ids), len(batch.rows)
    terms = terms_beside(model, states, inside, batch, taught, teaching, config, targets=targets, rows=rows)
    at = states[batch.target_at]
    for name, (weight, loss) in _of_tokens(teaching.loss).items():
        _, value = losses_at(model, at, batch.target_ids, taught, loss, chunk_of(config))
        terms[name] = weight * value / targets
    learning = [value for value in model.parameters() if value.requires_grad]
    norms = {}
    for name, term in terms.items():
        if not term.requires_grad:  # of rows that the teacher does not read
            norms[name] = 0.0
            continue
        found = torch.autograd.grad(term, learning, retain_graph=True, allow_unused=True)
        norms[name] = sum(float(gradient.norm()) ** 2 for gradient in found if gradient is not None) ** 0.5
        del found  # before the next one's are made
    return norms


def has_several(teaching: Teaching, config: TrainConfig) -> bool:
    """Whether there is more than one term."""
    beside = bool(teaching.begins and config.target_replication) + bool(config.contrastive)
    inside = sum(map(bool, teaching.representation.config.weights.values())) if teaching.representation else 0
    return len(_of_tokens(teaching.loss)) + beside + inside > 1


def _of_tokens(loss: TokenLoss) -> Mapping[str, tuple[float, TokenLoss]]:
    return loss.terms if isinstance(loss, Mixture) else {"loss": (1.0, loss)}
