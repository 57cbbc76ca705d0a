"""Figures over many answers. In come predicted and gold answers, out go rows whose sums reduce to the figure.

A predicted answer that is None was invalid; it counts as wrong everywhere. Knows no interval: `core.statistics`
bootstraps the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slmops.tasks.types import Json

Rows = NDArray[np.float64]


class Accuracy:
    """The share of answers that are the gold answer."""

    name = "accuracy"
    higher_is_better = True

    def rows(self, predicted: Sequence[Json], gold: Sequence[Json]) -> Rows:
        """(example, 2): correct, counted."""
        return _counted([answer == right for answer, right in zip(predicted, gold, strict=True)])

    def reduce(self, sums: Rows) -> Rows:
        return _share(sums)


class ValidAnswers:
    """The share of answers that are answers to the task at all."""

    name = "valid_answers"
    higher_is_better = True

    def rows(self, predicted: Sequence[Json], gold: Sequence[Json]) -> Rows:
        """(example, 2): valid, counted."""
        return _counted([answer is not None for answer, _ in zip(predicted, gold, strict=True)])

    def reduce(self, sums: Rows) -> Rows:
        return _share(sums)


class MacroF1:
    """The mean of the labels' F1; labels that are neither gold nor answered say nothing and are left out."""

    name = "macro_f1"
    higher_is_better = True

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)

    def rows(self, predicted: Sequence[Json], gold: Sequence[Json]) -> Rows:
        """(example, 3 · label): true positives, false positives, false negatives of each label."""
        answered, right = self._one_hot(predicted), self._one_hot(gold)
        return np.concatenate([answered & right, answered & ~right, right & ~answered], axis=1).astype(np.float64)

    def reduce(self, sums: Rows) -> Rows:
        true_positive, false_positive, false_negative = np.split(sums, 3, axis=-1)
        weight = 2 * true_positive + false_positive + false_negative  # (…, label)
        f1 = 2 * true_positive / np.where(weight > 0, weight, 1)
        return np.asarray(f1.sum(axis=-1) / (weight > 0).sum(axis=-1))

    def _one_hot(self, answers: Sequence[Json]) -> NDArray[np.bool_]:
        return np.array([[answer == label for label in self._labels] for answer in answers], dtype=bool).reshape(
            len(answers), len(self._labels)
        )


def _counted(flags: Sequence[bool]) -> Rows:
    return np.array([(flag, 1) for flag in flags], dtype=np.float64).reshape(len(flags), 2)


def _share(sums: Rows) -> Rows:
    return np.asarray(sums[..., 0] / sums[..., 1])
