"""Two opinions on one closed set of answers, made into one distribution. Knows no model and no text.

A taught language model and a bag of words err on different rows: together they are often right where one is not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WEIGHTS = np.arange(0.0, 2.01, 0.25)
_FLOOR = 1e-6  # no opinion rules an answer out


def mix(teacher: NDArray[np.float64], other: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """(row, answer) probabilities ∝ teacher · other^weight, a product of experts (Hinton 2002, "Training products of
    experts by minimizing contrastive divergence", equation 1)."""
    logs = np.log(np.maximum(teacher, _FLOOR)) + weight * np.log(np.maximum(other, _FLOOR))
    product = np.exp(logs - logs.max(axis=1, keepdims=True))
    mixed: NDArray[np.float64] = product / product.sum(axis=1, keepdims=True)
    return mixed


def best_weight(teacher: NDArray[np.float64], other: NDArray[np.float64], gold: NDArray[np.int64]) -> float:
    """Of 0, 0.25 … 2 the weight of `other` that makes the held-out rows' gold answers likeliest."""
    return float(min(_WEIGHTS, key=lambda weight: surprise(mix(teacher, other, weight), gold)))


def surprise(probabilities: NDArray[np.float64], gold: NDArray[np.int64]) -> float:
    """Mean −log probability of the gold answers."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(gold)), gold], _FLOOR)).mean())
