"""Losses over target positions: what the answer was, and what the teacher would have said.

In come (target, vocab) logits, out goes one value a target. Knows no model, no batch layout, no optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from slmops.training.distillation_config import LossWeights

if TYPE_CHECKING:
    from torch import Tensor

_NEVER = -80.0  # the log of a probability that counts for nothing
_LEAST = 1e-6  # of all tokens that are not told together, so that its log is finite
_ROUNDED = 1e-3  # what is missing to one, if it is less, is not told exactly by the difference


@dataclass(frozen=True)
class Taught:
    """A teacher's distribution at each target: some tokens with log-probabilities at `temperature`; the mass of all
    other tokens is exactly what is missing to one. `trusted` says where the answer itself may be learned, too. Where
    the student's logits are of a sample, `counts` is the log of how many tokens each stands for, which they hold."""

    ids: Tensor  # (target, k)
    logprobs: Tensor  # (target, k), −inf where there is no token
    trusted: Tensor  # (target,) 0 or 1
    temperature: float
    counts: Tensor | None = None  # (vocab,)


TokenLoss = Callable[["Tensor", "Tensor", Taught | None], "Tensor"]  # (logits, target_ids, taught) → (target,)


def cross_entropy(logits: Tensor, target_ids: Tensor, taught: Taught | None, label_smoothing: float = 0.0) -> Tensor:
    """−log q(answer), where the answer is trusted; if smoothed, that share of its probability goes to all tokens alike
    (Szegedy et al. 2016, arXiv 1512.00567, section 7)."""
    from torch.nn import functional

    loss = functional.cross_entropy(logits, target_ids, reduction="none", label_smoothing=label_smoothing)
    return loss if taught is None else loss * taught.trusted


def forward_kl(logits: Tensor, target_ids: Tensor, taught: Taught | None) -> Tensor:
    """T² · KL(p ∥ q) of teacher p and student q at temperature T (Hinton et al. 2015, arXiv 1503.02531, section 2).

    Like all that follow: over the teacher's tokens and one bucket for all others, so that no mass is lost.
    """
    p, q, scale = _buckets(logits, taught)
    return _kl(p, q) * scale**2


def reverse_kl(logits: Tensor, target_ids: Tensor, taught: Taught | None) -> Tensor:
    """T² · KL(q ∥ p): the student keeps to what the teacher finds likely, and may leave some of it out (Gu et al. 2023,
    arXiv 2306.08543, section 2.1)."""
    p, q, scale = _buckets(logits, taught)
    return _kl(q, p) * scale**2


def jensen_shannon(logits: Tensor, target_ids: Tensor, taught: Taught | None, beta: float = 0.5) -> Tensor:
    """T² · (β KL(p ∥ m) + (1−β) KL(q ∥ m)) with m = βp + (1−β)q, the generalised Jensen–Shannon divergence (Agarwal et
    al. 2023, arXiv 2306.13649, equation 1)."""
    p, q, scale = _buckets(logits, taught)
    between = _between(p, q, beta)
    return (beta * _kl(p, between) + (1 - beta) * _kl(q, between)) * scale**2


def skewed_forward_kl(logits: Tensor, target_ids: Tensor, taught: Taught | None, skew: float = 0.1) -> Tensor:
    """T² · KL(p ∥ αp + (1−α)q): no token that the student finds impossible makes it huge (Ko et al. 2024, arXiv
    2402.03898, section 3.1)."""
    p, q, scale = _buckets(logits, taught)
    return _kl(p, _between(p, q, skew)) * scale**2


def skewed_reverse_kl(logits: Tensor, target_ids: Tensor, taught: Taught | None, skew: float = 0.1) -> Tensor:
    """T² · KL(q ∥ (1−α)p + αq) (Ko et al. 2024, arXiv 2402.03898, section 3.1)."""
    p, q, scale = _buckets(logits, taught)
    return _kl(q, _between(q, p, skew)) * scale**2


def total_variation(logits: Tensor, target_ids: Tensor, taught: Taught | None) -> Tensor:
    """T · ½ Σ |p − q| (Wen et al. 2023, arXiv 2307.15190, section 3.2); its gradient falls as 1/T, not as 1/T²."""
    p, q, scale = _buckets(logits, taught)
    return (p.exp() - q.exp()).abs().sum(1) / 2 * scale


def sorted_distance(logits: Tensor, target_ids: Tensor, taught: Taught | None) -> Tensor:
    """T · Σ |p₍ᵢ₎ − q₍ᵢ₎| of the probabilities of both, each sorted, whatever tokens they belong to: needs no common
    tokens (universal logit distance: Boizard et al. 2024, arXiv 2402.12030, equation 5). Over as many as are taught,
    and the mass of all others."""
    import torch

    if taught is None:
        raise ValueError("a divergence needs a teacher")
    teacher = taught.logprobs.to(logits.dtype).exp().sort(descending=True).values
    student = torch.softmax(logits / taught.temperature, dim=-1).topk(teacher.shape[1]).values * (teacher > 0)
    rest = (teacher.sum(1) - student.sum(1)).abs()
    return ((teacher - student).abs().sum(1) + rest) * taught.temperature


DIVERGENCES: dict[str, TokenLoss] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "jensen_shannon": jensen_shannon,
    "skewed_forward_kl": skewed_forward_kl,
    "skewed_reverse_kl": skewed_reverse_kl,
    "total_variation": total_variation,
    "sorted_distance": sorted_distance,
}


@dataclass(frozen=True)
class Mixture:
    """Some losses, each with its weight: called, it is their weighted sum."""

    terms: Mapping[str, tuple[float, TokenLoss]]

    def __call__(self, logits: Tensor, target_ids: Tensor, taught: Taught | None) -> Tensor:
        values = [weight * loss(logits, target_ids, taught) for weight, loss in self.terms.values()]
        return sum(values[1:], start=values[0])


def mix(
    weights: Mapping[str, float], gold: TokenLoss = cross_entropy, *, skew: float = 0.1, beta: float = 0.5
) -> Mixture:
    """The weighted sum of named losses, `gold` in the place of cross_entropy; those of weight 0 are not computed."""
    losses = DIVERGENCES | {
        "cross_entropy": gold,
        "jensen_shannon": partial(jensen_shannon, beta=beta),
        "skewed_forward_kl": partial(skewed_forward_kl, skew=skew),
        "skewed_reverse_kl": partial(skewed_reverse_kl, skew=skew),
    }
    return Mixture({name: (weight, losses[name]) for name, weight in weights.items() if weight})


def mix_of(loss: LossWeights, gold: TokenLoss = cross_entropy) -> Mixture:
    """What the section distillation.loss says."""
    return mix(loss.weights, gold, skew=loss.skew, beta=loss.beta)


def _buckets(logits: Tensor, taught: Taught | None) -> tuple[Tensor, Tensor, float]:
    """(target, k + 1) log-probabilities of teacher and student at the teacher's tokens and at all others together, and
    the temperature of both. A token that is not there has no probability with either."""
    import torch

    if taught is None:
        raise ValueError("a divergence needs a teacher")
    absent = taught.logprobs == -torch.inf
    softened = logits / taught.temperature
    if taught.counts is not None:  # a sampled token counts as often whatever the temperature
        softened = softened + taught.counts * (1 - 1 / taught.temperature)
    says = torch.log_softmax(softened, dim=-1)
    student = says.gather(1, taught.ids).masked_fill(absent, _NEVER)
    teacher = taught.logprobs.to(logits.dtype).masked_fill(absent, _NEVER)
    of_teacher, of_student = _rest(teacher), _rest(student)
    is_lost = ((of_student < math.log(_ROUNDED)) & (of_teacher > math.log(_LEAST)))[:, 0]
    if is_lost.any():
        others = _of_others(says[is_lost], taught.ids[is_lost], absent[is_lost])
        of_student = of_student.masked_scatter(is_lost[:, None], others)
    return torch.cat([teacher, of_teacher], dim=1), torch.cat([student, of_student], dim=1), taught.temperature


def _rest(known: Tensor) -> Tensor:
    """(target, 1) log of the probability that is missing to one."""
    return (1 - known.exp().sum(1, keepdim=True)).clamp(min=_LEAST).log()


def _of_others(says: Tensor, ids: Tensor, absent: Tensor) -> Tensor:
    """(target, 1) the same as the sum over all other tokens: exact, and with a gradient, however little is missing."""
    import torch

    rows, places = (~absent).nonzero(as_tuple=True)
    known = torch.zeros_like(says, dtype=torch.bool)
    known[rows, ids[rows, places]] = True
    return says.masked_fill(known, _NEVER).logsumexp(1, keepdim=True)


def _kl(of: Tensor, under: Tensor) -> Tensor:
    return (of.exp() * (of - under)).sum(1)


def _between(one: Tensor, other: Tensor, share: float) -> Tensor:
    """The log of share · one + (1 − share) · other."""
    import torch

    return torch.logaddexp(one + math.log(share), other + math.log(1 - share))
