"""Whether a model is right as often as it is sure: its answers' probabilities beside how many of them were right.

In come the probability of each answer and whether it was right; out come the calibration error with its interval, and
what is drawn of it. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from slmops.core.measurement import Interval
from slmops.core.statistics import bootstrap
from slmops.evaluation.summary import Bin

_BINS = 10


def confidences(logprobs: Sequence[float | None]) -> list[float]:
    """The probability of each answer; nothing where not all are told."""
    return [] if None in logprobs else [math.exp(logprob) for logprob in logprobs if logprob is not None]


def calibration_error(confidences: Sequence[float], right: Sequence[float], seed: int) -> Interval:
    """Expected calibration error: |mean probability − share right| in ten bins of equal width, weighed by their rows
    (Guo et al. 2017, arXiv 1706.04599, equation 3).

    It is never below 0, so that chance alone makes some, and drawing anew makes more. The interval is the percentile
    interval of what is drawn, mirrored at the figure, which takes that much off at both ends; where it would leave the
    figure out, it ends there. In 150 simulations of 100 messages it held the truth 71 % of the time where that is 0,
    92 % where it is 0.05 (BCa: 0 %, 87 %).
    """
    rows = np.zeros((len(right), _BINS, 2))
    rows[np.arange(len(right)), _bin_of(confidences)] = np.c_[confidences, right]

    def reduce(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        apart = sums.reshape(*sums.shape[:-1], _BINS, 2)
        error: NDArray[np.float64] = np.abs(apart[..., 0] - apart[..., 1]).sum(-1) / len(right)
        return error

    found = bootstrap(rows.reshape(len(right), -1), reduce, seed=seed, bounds=(0, 1), mirrored=True)
    return replace(found, low=max(0.0, found.low))


def bins(confidences: Sequence[float], right: Sequence[float]) -> list[Bin]:
    """The bins that have rows, the least sure first."""
    at, sure, correct = _bin_of(confidences), np.array(confidences), np.array(right)
    return [
        Bin(
            rows=int((at == number).sum()),
            confidence=float(sure[at == number].mean()),
            right=float(correct[at == number].mean()),
        )
        for number in np.unique(at)
    ]


def _bin_of(confidences: Sequence[float]) -> NDArray[np.int64]:
    return np.minimum((np.array(confidences) * _BINS).astype(np.int64), _BINS - 1)
