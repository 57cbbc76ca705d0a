"""What a cache of some tokens is worth: the gradient that it gives, held against that of the whole distribution.

In come what teacher and student say of some targets that nobody learns from; out go figures for each way to keep
tokens. Knows no model and no file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slmops.training.losses import Taught, TokenLoss, forward_kl
from slmops.training.target_codes import BYTES, Codes, Kind, choose_tokens, decode

if TYPE_CHECKING:
    from torch import Tensor

_NOTHING = 0.01  # of the probability is to move: where less is, the gradient is no measure
_DRAWS = 8  # caches that are drawn to tell how far their mean is off


@dataclass(frozen=True)
class Certificate:
    """`k` tokens of that `kind` at each of so many `targets`. `total_variation` is the share of probability that the
    student is taught at wrong tokens; `error` how far gradients at its logits are off, and `bias` how far their mean
    over many caches is, both as a share of the gradient's own size (root of mean squares)."""

    kind: Kind
    k: int
    bytes_per_target: int
    total_variation: float
    error: float
    bias: float
    targets: int


def certify(
    ways: Iterable[tuple[Kind, int]],
    teacher: Tensor,
    student: Tensor,
    target_ids: Tensor,
    loss: TokenLoss,
    temperature: float,
    seed: int,
) -> list[Certificate]:
    """For each way, a kind and how many tokens: of (target, vocab) log-probabilities of the teacher at `temperature`,
    logits of the student, and the loss that is learned by. What is drawn is drawn several times; its squared bias is
    the product of two independent halves' errors, which is not biased itself, and 0 where that is below 0."""
    exact, right = (_gradient(student, target_ids, by, _dense(teacher, temperature)) for by in (loss, forward_kl))
    size = max(float(exact.square().sum()), len(target_ids) * (_NOTHING * temperature) ** 2)

    def of(kind: Kind, k: int) -> Certificate:
        generator, draws = np.random.default_rng(seed), 1 if kind == "top" else _DRAWS
        off, variation = [], 0.0
        for _ in range(draws):
            kept = _taught(choose_tokens(teacher, k, kind, generator), temperature)
            off.append(_gradient(student, target_ids, loss, kept) - exact)
            # T times how far what the student takes for the teacher's distribution is from it
            wrong = _gradient(student, target_ids, forward_kl, kept) - right
            variation += float(wrong.abs().sum()) / (2 * temperature * draws * len(target_ids))
        squared = sum(float(one.square().sum()) for one in off) / draws
        halves = [sum(half[1:], start=half[0]) / len(half) for half in (off[::2], off[1::2] or off)]
        mean_squared = max(0.0, float((halves[0] * halves[1]).sum()))
        error, bias, tokens = (squared / size) ** 0.5, (mean_squared / size) ** 0.5, kept.ids.shape[1]
        return Certificate(kind, tokens, tokens * BYTES, variation, error, bias, len(target_ids))

    return [of(kind, k) for kind, k in ways]


def _taught(codes: Codes, temperature: float) -> Taught:
    import torch

    ids, logprobs = decode(codes)
    return Taught(torch.from_numpy(ids), torch.from_numpy(logprobs), torch.ones(len(ids)), temperature)


def _dense(teacher: Tensor, temperature: float) -> Taught:
    import torch

    targets, vocabulary = teacher.shape
    return Taught(torch.arange(vocabulary).expand(targets, -1), teacher.float(), torch.ones(targets), temperature)


def _gradient(logits: Tensor, target_ids: Tensor, loss: TokenLoss, taught: Taught) -> Tensor:
    """(target, vocab), at the student's logits."""
    import torch

    leaf = logits.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, target_ids, taught).sum(), leaf)[0]
