"""A loss that leaps, and the rows that made it."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from slmops.training.blame import Usual, row_losses, worst_rows


@given(st.integers(0, 1000), st.floats(0.05, 5), st.floats(10, 1000))
def test_only_what_is_far_above_the_usual_is_a_leap(seed: int, level: float, times: float) -> None:
    usual = Usual()
    losses = level * (1 + 0.2 * np.random.default_rng(seed).standard_normal(100)).clip(0.1)
    falling = losses * np.linspace(1, 0.3, 100)
    assert not any(usual.is_leap(float(loss)) for loss in falling)
    assert usual.is_leap(times * level)
    assert not usual.is_leap(float(falling[-1]))


def test_a_row_has_the_mean_of_its_tokens() -> None:
    losses = row_losses(("a", "b"), torch.tensor([0, 1, 0]), torch.tensor([1.0, 5.0, 2.0]))
    assert losses == {"a": 1.5, "b": 5.0}


def test_the_worst_rows_are_those_without_a_number_or_with_the_highest_loss() -> None:
    assert worst_rows({"a": 1.0, "b": 3.0, "c": 2.0, "d": 0.5}) == ("b", "c", "a")
    assert worst_rows({"a": 1.0, "b": float("nan"), "c": float("inf")}) == ("b", "c")
