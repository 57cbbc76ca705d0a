"""The output head at a sample of the vocabulary: exact where something is to be learned, estimated elsewhere.

A loss needs the logits of the few tokens it speaks of, and of all others only how much they weigh together. That is
estimated from tokens drawn anew at every step, each standing for many (sampled softmax: Bengio and Senécal 2008; Jean
et al. 2015, arXiv 1412.2007, section 3). With a small model the whole head is a fifth of a step.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from slmops.models.forward import head_logits
from slmops.training.losses import Taught

if TYPE_CHECKING:
    from torch import Tensor, nn


def sampled_logits(
    model: nn.Module, states: Tensor, target_ids: Tensor, taught: Taught | None, sample: int, seed: tuple[int, ...]
) -> tuple[Tensor, Tensor, Taught | None]:
    """(target, candidate) logits with `target_ids` and `taught` in terms of the candidates, for any loss that takes
    them as a vocabulary. `states` are (target, width); `sample` is how many tokens stand for the rest: the mean of the
    sum over all is right, that of its logarithm too low, the more so where few of those drawn hold the most."""
    import torch

    spoken_of = target_ids if taught is None else torch.cat([target_ids, taught.ids.flatten()])
    spoken_of = spoken_of.unique()
    size = model.config.vocab_size
    drawn = torch.from_numpy(np.random.default_rng(seed).integers(0, size, sample))
    drawn = drawn[~torch.isin(drawn, spoken_of)]
    logits = head_logits(model, states, tuple(torch.cat([spoken_of, drawn]).tolist()))
    counts = logits.new_zeros(logits.shape[1])
    if len(drawn):
        counts[len(spoken_of) :] = math.log((size - len(spoken_of)) / len(drawn))  # how many each stands for
    if taught is not None:
        taught = replace(taught, ids=torch.searchsorted(spoken_of, taught.ids), counts=counts)
    return logits + counts, torch.searchsorted(spoken_of, target_ids), taught
