"""Losses on what goes on inside: hidden states, what heads look at, and how tokens' values relate.

In come (row, token, …) values of student and teacher for the same tokens, and where there is one (`real`); out goes the
mean over a row's tokens, summed over rows. Knows no model and no batch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from slmops.models.attention import Heads

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-9  # of a probability, so that its log is finite


def cosine_distance(student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """1 − cos of (row, token, width) hidden states (Sanh et al. 2019, arXiv 1910.01108, section 2)."""
    from torch.nn import functional

    apart = 1 - functional.cosine_similarity(student.float(), teacher.float(), dim=-1)
    return _mean_over_tokens(apart, real)


def map_divergence(student: Heads, teacher: Heads, real: Tensor) -> Tensor:
    """KL of what the teacher's heads look at, and the student's, among the tokens they have in common, mean over heads
    (Wang et al. 2020, MiniLM, arXiv 2002.10957, equation 6). Where they have not as many heads, means of as many groups
    of both are held together. Heads are (row, token, head, width)."""
    count = math.gcd(student.queries.shape[2], teacher.queries.shape[2])
    own, other = (_maps(heads).unflatten(1, (count, -1)).mean(2) for heads in (student, teacher))
    return _divergence(other, own, real)


def relation_divergence(student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """KL of how alike the (row, token, head, width) values of each two tokens are, mean over heads (MiniLM, equations 7
    to 9). Where they have not as many heads, all are laid side by side and divided anew (Wang et al. 2021, MiniLMv2,
    arXiv 2012.15828, section 3.1)."""
    count = math.gcd(student.shape[2], teacher.shape[2])
    relations = []
    for values in (student, teacher):
        divided = values.float().flatten(2).unflatten(2, (count, -1)).transpose(1, 2)  # (row, head, token, width)
        scores = divided @ divided.transpose(2, 3) / math.sqrt(divided.shape[-1])
        relations.append(scores.masked_fill(~real[:, None, None, :], -math.inf).softmax(-1))
    return _divergence(relations[1], relations[0], real)


def _maps(heads: Heads) -> Tensor:
    """(row, head, token, token) what each token looks at, itself and those before it."""
    import torch

    queries, keys = heads.queries.float().transpose(1, 2), heads.keys.float().transpose(1, 2)
    keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1)
    scores = queries @ keys.transpose(2, 3)
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -math.inf).softmax(-1)


def _divergence(teacher: Tensor, student: Tensor, real: Tensor) -> Tensor:
    """KL of (row, head, token, token) distributions over the last axis."""
    told = (teacher * (teacher.clamp(min=_LEAST).log() - student.clamp(min=_LEAST).log())).sum(-1)
    return _mean_over_tokens(told.mean(1), real)


def _mean_over_tokens(values: Tensor, real: Tensor) -> Tensor:
    return ((values * real).sum(1) / real.sum(1).clamp(min=1)).sum()
