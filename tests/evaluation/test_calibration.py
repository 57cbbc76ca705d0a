"""Whether a model is right as often as it is sure."""

from __future__ import annotations

import numpy as np
import pytest

from slmops.evaluation.calibration import bins, calibration_error
from slmops.evaluation.plots import plot_certainty


def test_it_is_the_mean_gap_over_bins_weighed_by_their_rows() -> None:
    sure, right = [0.95, 0.95, 0.95, 0.95, 0.15, 1.0], [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    high = abs((4 * 0.95 + 1.0) - 4)
    assert calibration_error(sure, right, seed=1).value == pytest.approx((high + abs(0.15 - 1)) / 6)
    assert [(part.rows, part.right) for part in bins(sure, right)] == [(1, 1.0), (5, 0.8)]
    assert [part.confidence for part in bins(sure, right)] == pytest.approx([0.15, 0.96])


def test_who_is_as_right_as_sure_errs_little_and_the_overconfident_by_their_excess() -> None:
    chance = np.random.default_rng(2)
    sure = chance.uniform(0.2, 1, 4000)
    honest = (chance.random(4000) < sure).astype(float)
    boastful = (chance.random(4000) < sure - 0.2).astype(float)
    assert calibration_error(sure.tolist(), honest.tolist(), seed=1).value < 0.04
    found = calibration_error(sure.tolist(), boastful.tolist(), seed=1)
    assert found.low < 0.2 < found.high


def test_its_interval_holds_it_and_mostly_begins_at_0_where_it_is_chance_alone() -> None:
    chance, found = np.random.default_rng(4), []
    for _ in range(20):
        sure = chance.uniform(0.5, 1, 100)
        found.append(calibration_error(sure.tolist(), (chance.random(100) < sure).astype(float).tolist(), seed=0))
    assert all(one.low <= one.value <= one.high for one in found)
    assert sum(one.low == 0 for one in found) > 10


def test_where_all_are_sure_and_right_what_none_of_them_was_may_yet_be() -> None:
    found = calibration_error([1.0] * 20, [1.0] * 20, seed=0)
    assert (found.value, found.low, found.high) == pytest.approx((0, 0, 0.1684), abs=1e-4)


def test_its_plot_says_which_way_it_errs() -> None:
    told = plot_certainty("int4", bins([0.9, 0.9, 0.4], [1.0, 0.0, 0.0]), "int4")
    assert told.title == "int4 is 40.0 points surer than it is right"
    assert "<svg" in str(told.svg)
    assert "less sure" in plot_certainty("teacher", bins([0.5], [1.0]), "int4").title
