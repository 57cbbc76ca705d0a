"""Two opinions are heard as far as each deserves it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.training.opinions import best_weight, mix, surprise

LABELS = 4


def opinion(seed: int, gold: np.ndarray, skill: float) -> np.ndarray:
    """(row, label) probabilities that lean towards gold by `skill`."""
    logits = np.random.default_rng(seed).normal(size=(len(gold), LABELS))
    logits[np.arange(len(gold)), gold] += skill
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@given(seed=st.integers(0, 10**6), weight=st.floats(0, 2))
def test_what_comes_out_are_probabilities(seed: int, weight: float) -> None:
    gold = np.zeros(5, dtype=int)
    mixed = mix(opinion(seed, gold, 1), opinion(seed + 1, gold, 1), weight)
    assert mixed.sum(1) == pytest.approx(np.ones(5))
    assert (mixed >= 0).all()


def test_a_weight_of_nothing_leaves_the_teacher_as_it_is() -> None:
    teacher = opinion(1, np.zeros(5, dtype=int), 1)
    assert mix(teacher, opinion(2, np.zeros(5, dtype=int), 1), 0.0) == pytest.approx(teacher)


def test_a_second_opinion_that_knows_more_is_heard_and_one_that_knows_nothing_is_not() -> None:
    gold = np.random.default_rng(0).integers(0, LABELS, 400)
    teacher = opinion(1, gold, 2.0)
    knows, guesses = opinion(2, gold, 2.0), opinion(3, gold, 0.0)
    heard = best_weight(teacher, knows, gold)
    assert heard > 0.5
    assert surprise(mix(teacher, knows, heard), gold) < surprise(teacher, gold)
    assert best_weight(teacher, guesses, gold) == 0.0


def test_an_opinion_that_is_certain_and_wrong_does_not_rule_the_answer_out() -> None:
    wrong, right = np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])
    assert mix(right, wrong, 1.0)[0, 1] > 0
