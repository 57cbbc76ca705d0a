"""Losses over target positions: what the answer was, and what the teacher would have said.

In come (target, vocab) logits, out goes one value a target. Knows no model, no batch layout, no optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Taught:
    """A teacher's distribution at each target: its top-k ids with log-probabilities at `temperature`; the mass of all
    other tokens is exactly what is missing to one. `trusted` says where the answer itself may be learned, too."""

    ids: Tensor  # (target, k)
    logprobs: Tensor  # (target, k), −inf where there are fewer than k
    trusted: Tensor  # (target,) 0 or 1
    temperature: float


TokenLoss = Callable[["Tensor", "Tensor", Taught | None], "Tensor"]  # (logits, target_ids, taught) → (target,)


def cross_entropy(logits: Tensor, target_ids: Tensor, taught: Taught | None, label_smoothing: float = 0.0) -> Tensor:
    """−log q(answer), where the answer is trusted; if smoothed, that share of its probability goes to all tokens alike
    (Szegedy et al. 2016, arXiv 1512.00567, section 7)."""
    from torch.nn import functional

    loss = functional.cross_entropy(logits, target_ids, reduction="none", label_smoothing=label_smoothing)
    return loss if taught is None else loss * taught.trusted


def forward_kl(logits: Tensor, target_ids: Tensor, taught: Taught | None) -> Tensor:
    """T² · KL(p ∥ q) of teacher p and student q at temperature T (Hinton et al. 2015, arXiv 1503.02531, section 2).

    Over the teacher's top k tokens and one bucket for all others, so that no mass is lost.
    """
    import torch

    if taught is None:
        raise ValueError("forward_kl needs a teacher")
    student = torch.log_softmax(logits / taught.temperature, dim=-1).gather(1, taught.ids)
    teacher = taught.logprobs.float()
    known, kept = teacher > -torch.inf, teacher.exp()
    tail = (1 - kept.sum(1)).clamp(min=1e-6)
    student_tail = (1 - (student.exp() * known).sum(1)).clamp(min=1e-6)
    divergence = (kept * (teacher.masked_fill(~known, 0) - student)).sum(1) + tail * (tail.log() - student_tail.log())
    return divergence * taught.temperature**2


LOSSES: dict[str, TokenLoss] = {"cross_entropy": cross_entropy, "forward_kl": forward_kl}


def mix(weights: Mapping[str, float], gold: TokenLoss = cross_entropy) -> TokenLoss:
    """The weighted sum of named losses, `gold` in the place of cross_entropy; those of weight 0 are not computed."""
    losses = LOSSES | {"cross_entropy": gold}

    def mixed(logits: Tensor, target_ids: Tensor, taught: Taught | None) -> Tensor:
        terms = [weight * losses[name](logits, target_ids, taught) for name, weight in weights.items() if weight]
        return sum(terms[1:], start=terms[0])

    return mixed
