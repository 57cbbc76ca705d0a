"""A training is judged by the weights that it keeps."""

from __future__ import annotations

from slmops.training.curve import Point, kept_loss, looks_since_best


def test_once_weights_are_rounded_only_rounded_ones_are_kept() -> None:
    begin, best, worse = Point(0, 2.0, 0.1), Point(1, 1.0, 0.3), Point(2, 0.9, 0.5)
    rounded, last = Point(3, 0.9, 0.6, rounded=True), Point(4, 0.8, 0.7, rounded=True)
    assert kept_loss([begin], True) is None
    assert kept_loss([begin, best, worse], True) == 0.3
    assert kept_loss([begin, best, worse, rounded, last], True) == 0.6
    assert kept_loss([begin, best, worse, rounded, last], False) == 0.7


def test_where_there_is_a_metric_it_tells_the_best_and_the_loss_among_equals() -> None:
    looks = [Point(1, 1.0, 0.3, metric=0.5), Point(2, 0.9, 0.5, metric=0.8), Point(3, 0.8, 0.4, metric=0.8)]
    assert [looks_since_best(looks[:count], 0) for count in (1, 2, 3)] == [0, 0, 0]
    last = Point(4, 0.7, 0.2, metric=0.7)
    assert looks_since_best([*looks, last], 0) == 1 and kept_loss([*looks, last], True) == 0.4
