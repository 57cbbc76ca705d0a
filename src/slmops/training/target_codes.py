"""A teacher's distribution at a target in few bytes: k tokens, each with its log-probability, in 32 bits.

20 bits are the token's id, 12 the root of its surprise: fine steps where the teacher is sure, coarse ones where it
is not, with about the error of fp16. Knows no model and no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["top", "sampled"]
Codes = NDArray[np.uint32]  # (target, k)

BYTES = 4  # of a code
_ABSENT = np.uint32(0xFFFFFFFF)
_ID_BITS, _STEPS = 20, 4095
_SURPRISE = 32.0  # nats: what is less likely is told as this


def encode(ids: NDArray[np.int64], logprobs: NDArray[np.float32]) -> Codes:
    """(target, k) codes; −inf stands where there is no token.

    Raises:
        ValueError: an id has more than 20 bits.
    """
    if ids.size and ids.max() >= 2**_ID_BITS - 1:
        raise ValueError(f"token {ids.max()} is beyond what a code can tell")
    there = logprobs > -np.inf
    share = np.sqrt(np.clip(-np.where(there, logprobs, 0.0), 0, _SURPRISE) / _SURPRISE)
    codes = (ids.astype(np.uint32) << np.uint32(12)) | np.rint(share * _STEPS).astype(np.uint32)
    return np.where(there, codes, _ABSENT)


def decode(codes: Codes) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(target, k) ids with log-probabilities, −inf where there is no token."""
    there = codes != _ABSENT
    share = (codes & np.uint32(0xFFF)).astype(np.float32) / _STEPS
    ids = np.where(there, codes >> np.uint32(12), 0).astype(np.int64)
    return ids, np.where(there, -_SURPRISE * share**2, -np.inf).astype(np.float32)


def encode_likeliest(targets: Sequence[Mapping[int, float]], k: int) -> Codes:
    """Codes of the `k` likeliest tokens of each target, from their probabilities."""
    ids = np.zeros((len(targets), k), np.int64)
    logprobs = np.full((len(targets), k), -np.inf, np.float32)
    for row, found in enumerate(targets):
        likeliest = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:k]
        ids[row, : len(likeliest)] = [id for id, _ in likeliest]
        logprobs[row, : len(likeliest)] = np.log([min(1.0, value) for _, value in likeliest])
    return encode(ids, logprobs)


def choose_tokens(logprobs: Tensor, k: int, kind: Kind, generator: np.random.Generator) -> Codes:
    """Codes of `k` tokens a target, of (target, vocab) log-probabilities: the likeliest, the others' mass being what is
    missing to one; or as many drawn by their probability, each with the share of draws that it got, so that the mean
    gradient of a divergence that is linear in the teacher is that of all tokens (Anshumann et al. 2025, arXiv
    2503.16870, section 3)."""
    if kind == "top":
        top = logprobs.topk(min(k, logprobs.shape[1]), dim=-1)
        return encode(top.indices.numpy(), top.values.float().numpy())
    cumulative = logprobs.double().exp().cumsum(1).numpy()
    drawn = np.stack([np.searchsorted(row, generator.random(k) * row[-1], side="right") for row in cumulative])
    drawn.sort(axis=1)
    first = np.concatenate([np.ones((len(drawn), 1), bool), drawn[:, 1:] != drawn[:, :-1]], axis=1)
    counts = np.stack([np.bincount(np.cumsum(new) - 1, minlength=k)[np.cumsum(new) - 1] for new in first])
    shares = np.where(first, np.log(counts / k) + np.log(cumulative[:, -1:]), -np.inf)
    return encode(drawn, shares.astype(np.float32))
