"""Figures over many answers. In come predicted and gold answers, out go rows whose sums reduce to the figure.

A predicted answer that is None was invalid; it counts as wrong everywhere. Where several answers are right, gold is
their list and the best match counts. Knows no interval: `core.statistics` bootstraps the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from slmops.tasks.types import Json

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """The mean of what `score` gives each answer that is one, 0 to 1; an invalid one gets 0."""

    name: str
    score: Callable[[Json, Json], float]
    higher_is_better: bool = True

    def rows(self, predicted: Sequence[Json], gold: Sequence[Json]) -> Rows:
        """(example, 2): score, counted."""
        scores = [
            0.0 if answer is None else float(self.score(answer, right))
            for answer, right in zip(predicted, gold, strict=True)
        ]
        return np.array([(score, 1) for score in scores], dtype=np.float64).reshape(len(scores), 2)

    def reduce(self, sums: Rows) -> Rows:
        return np.asarray(sums[..., 0] / sums[..., 1])


def of_part(metric: Mean, part: str) -> Mean:
    """`metric` where gold has several parts, and the answer is held against one."""
    return replace(metric, score=lambda answer, gold: metric.score(answer, gold[part]))


def accuracy() -> Mean:
    """The share of answers that are the gold answer."""
    return Mean("accuracy", lambda answer, right: float(answer == right))


def valid_answers() -> Mean:
    """The share of answers that are answers to the task at all."""
    return Mean("valid_answers", lambda answer, right: 1.0)


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


class EntityF1:
    """F1 over all facts of all answers together (micro): `facts` takes an answer apart, a fact found twice counts
    twice."""

    name = "entity_f1"
    higher_is_better = True

    def __init__(self, facts: Callable[[Json], dict[str, int]]) -> None:
        self._facts = facts

    def rows(self, predicted: Sequence[Json], gold: Sequence[Json]) -> Rows:
        """(example, 3): facts found and right, facts found, facts to be found."""
        rows = []
        for answer, right in zip(predicted, gold, strict=True):
            found, wanted = {} if answer is None else self._facts(answer), self._facts(right)
            shared = sum(min(count, wanted.get(fact, 0)) for fact, count in found.items())
            rows.append((shared, sum(found.values()), sum(wanted.values())))
        return np.array(rows, dtype=np.float64).reshape(len(rows), 3)

    def reduce(self, sums: Rows) -> Rows:
        """1 where there was nothing to find and nothing was found."""
        weight = sums[..., 1] + sums[..., 2]
        return np.asarray(np.where(weight > 0, 2 * sums[..., 0] / np.where(weight > 0, weight, 1), 1.0))
