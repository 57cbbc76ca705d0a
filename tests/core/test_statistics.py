from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from slmops.core.measurement import Interval
from slmops.core.statistics import (
    bootstrap,
    mcnemar,
    paired_difference,
    paired_latency_reduction,
    paired_ratio,
    percentile_interval,
    swap_test,
)


def share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(sums[..., 0] / sums[..., 1])


def counted(flags: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.stack([flags, np.ones(len(flags))], axis=1).astype(float)


SKEWED = np.random.default_rng(3).lognormal(size=80)


def test_the_interval_is_scipys_bca() -> None:
    from scipy import stats

    known = stats.bootstrap((SKEWED,), np.mean, n_resamples=10_000, method="BCa", rng=np.random.default_rng(0))
    found = bootstrap(np.stack([SKEWED, np.ones(80)], axis=1), share, seed=0)
    assert found.value == pytest.approx(SKEWED.mean())
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval), rel=0.02)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator, rounds = np.random.default_rng(1), 400
    intervals = [
        bootstrap(counted(generator.random(200) < 0.9), share, seed=seed, samples=1000) for seed in range(rounds)
    ]
    assert 0.91 < sum(found.low <= 0.9 <= found.high for found in intervals) / rounds < 0.99


def test_the_same_seed_gives_the_same_interval_however_much_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = counted(SKEWED > 1)
    whole = bootstrap(rows, share, seed=5)
    monkeypatch.setattr("slmops.core.statistics._DRAWN_AT_ONCE", 1000)
    assert bootstrap(rows, share, seed=5) == whole
    assert bootstrap(rows, share, seed=6) != whole


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 5))
def test_the_interval_holds_its_value(flags: list[bool], seed: int) -> None:
    found = bootstrap(counted(np.array(flags)), share, seed=seed, samples=200)
    assert 0 <= found.low <= found.high <= 1 and found.n == len(flags)
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9


def test_what_none_of_the_examples_was_may_yet_be() -> None:
    """Clopper and Pearson's interval of 20 in 20 begins at 0.832."""
    right, wrong = counted(np.ones(20, bool)), counted(np.zeros(20, bool))
    perfect = bootstrap(right, share, seed=0, bounds=(0, 1))
    assert (perfect.value, perfect.low, perfect.high) == pytest.approx((1, 0.8316, 1), abs=1e-4)
    nothing = bootstrap(wrong, share, seed=0, bounds=(0, 1))
    assert (nothing.low, nothing.high) == pytest.approx((0, 0.1684), abs=1e-4)
    alike = counted(np.arange(20) < 15)
    apart = paired_difference(alike, alike, share, seed=0)
    assert (apart.low, apart.value, apart.high) == pytest.approx((-0.1684, 0, 0.1684), abs=1e-4)
    kept = paired_ratio(alike, alike, share, seed=0)
    assert (kept.low, kept.high) == pytest.approx((1 - 0.1684 / 0.75, 1 + 0.1684 / 0.75), abs=1e-4)


def test_which_of_two_graded_answers_is_whose_is_chance_as_often_as_the_test_says() -> None:
    chance, found = np.random.default_rng(2), []
    for seed in range(200):
        ours, theirs = (np.stack([chance.random(40), np.ones(40)], axis=1) for _ in "ab")
        found.append(swap_test(ours, theirs, share, seed=seed, samples=200))
    assert 0.02 < np.mean(np.array(found) < 0.1) < 0.2
    better = np.stack([0.9 * theirs[:, 0] + 0.1, np.ones(40)], axis=1)
    assert swap_test(better, theirs, share, seed=0) < 0.001
    assert swap_test(theirs, theirs, share, seed=0) == 1
    assert math.isnan(swap_test(0 * theirs, theirs, share, seed=0))


def test_an_undefined_figure_is_not_a_number() -> None:
    nothing_right, all_right = counted(np.zeros(9, dtype=bool)), counted(np.ones(9, dtype=bool))
    kept = paired_ratio(all_right, nothing_right, share, seed=0)
    assert math.isnan(kept.value) and math.isnan(kept.low) and math.isnan(kept.high)


def test_pairing_narrows_the_difference_of_models_that_err_together() -> None:
    generator = np.random.default_rng(2)
    teacher = generator.random(300) < 0.9
    student = teacher & (generator.random(300) < 0.95)
    paired = paired_difference(counted(student), counted(teacher), share, seed=0)
    apart = paired_difference(counted(student), counted(generator.permutation(teacher)), share, seed=0)
    assert paired.value == pytest.approx(apart.value)
    assert paired.high < 0 < apart.high


def test_what_is_kept_is_a_ratio_on_the_same_examples() -> None:
    teacher = np.array([True] * 90 + [False] * 10)
    student = np.array([True] * 81 + [False] * 19)
    kept = paired_ratio(counted(student), counted(teacher), share, seed=0)
    assert kept.value == pytest.approx(0.9) and 0.8 < kept.low < 0.9 < kept.high < 1


def test_models_on_different_examples_cannot_be_paired() -> None:
    with pytest.raises(ValueError):
        paired_difference(counted(np.ones(3, dtype=bool)), counted(np.ones(4, dtype=bool)), share, seed=0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_mcnemars_p_is_the_binomial_tests(pairs: list[tuple[bool, bool]]) -> None:
    from scipy import stats

    only_a, only_b = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    known = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar([a for a, _ in pairs], [b for _, b in pairs]) == pytest.approx(known)


def test_a_percentile_stands_in_its_interval() -> None:
    found = percentile_interval(SKEWED, 95)
    assert found.value == pytest.approx(np.percentile(SKEWED, 95))
    assert found.low < found.value < found.high <= SKEWED.max()


@pytest.mark.parametrize(("percentile", "count"), [(50, 100), (95, 100), (95, 400)])
def test_it_holds_the_percentile_of_all_that_might_have_been_seen(percentile: float, count: int) -> None:
    chance, truth = np.random.default_rng(3), math.exp(NormalDist().inv_cdf(percentile / 100))
    found = [percentile_interval(chance.lognormal(size=count), percentile) for _ in range(1000)]
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.94
    assert max(np.mean([truth < one.low for one in found]), np.mean([truth > one.high for one in found])) <= 0.035


def test_of_few_values_a_high_percentile_may_be_above_all_of_them() -> None:
    found = percentile_interval([3.0, 1.0, 2.0], 95)
    assert (found.value, found.low, found.high) == (pytest.approx(2.9), 2.0, 3.0)
    assert percentile_interval([5.0], 50) == Interval(5.0, 5.0, 5.0, 0.95, 1)


@pytest.mark.parametrize("percentile", [None, 50, 95])
def test_prompts_that_all_take_a_tenth_save_nine_tenths(percentile: float | None) -> None:
    saved = paired_latency_reduction(100 * SKEWED, 10 * SKEWED, percentile=percentile, seed=0)
    assert (saved.value, saved.low, saved.high) == pytest.approx((0.9, 0.9, 0.9))


def test_a_slower_model_saves_less_than_nothing() -> None:
    slower = paired_latency_reduction(SKEWED, 2 * SKEWED + np.random.default_rng(0).random(80), seed=0)
    assert slower.value < -1 and slower.low < slower.value < slower.high
