"""Faults are told of curves that have them, and of no healthy one.

`curves.json` holds curves as they were recorded: the default model, taught the example's support messages and GSM8K,
each run spoiled in one way.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from slmops.training.curve import Point
from slmops.training.diagnosis import Course, diagnose, watch

RECORDED = json.loads((Path(__file__).parent / "curves.json").read_text())
GUESSING = {"support": math.log(12) / 3.5, "gsm8k": None}  # twelve intents, of 3.5 tokens with the end
TOLD = {
    "healthy": [],
    "healthy-1": [],
    "under": ["under-fitting"],
    "short": ["under-fitting"],
    "diverge": ["divergence", "learning rate too high"],
    "low": ["learning rate too low", "under-fitting"],
    ("support", "high"): ["divergence", "learning rate too high"],
    ("gsm8k", "high"): ["learning rate too high"],
    ("support", "overfit"): ["too little data"],
    ("gsm8k", "overfit"): ["over-fitting", "too little data"],
    ("support", "few"): ["under-fitting"],  # 18 steps of 24 rows
    ("gsm8k", "few"): ["too little data"],
    "noise": [],  # is told by the rows
}


def curve_of(run: dict[str, list[list[float]]]) -> list[Point]:
    losses = dict(map(tuple, run["losses"]))
    looks = {int(step): (seen, held_out) for step, seen, held_out in run["looks"]}
    points = []
    for step in sorted({*map(int, losses), *looks}):
        seen, held_out = looks.get(step, (None, None))
        points.append(Point(step, losses.get(step, seen), held_out, (), seen))
    points[-1] = replace(points[-1], twice_as_far=run["along"][1])
    return points


def named(run: str) -> list[Point]:
    return curve_of(next(one for one in RECORDED if (one["set"], one["run"]) == ("gsm8k", run)))


@pytest.mark.parametrize("run", RECORDED, ids=lambda run: f"{run['set']}-{run['run']}")
def test_each_recorded_run_is_called_what_it_was_made_to_be(run) -> None:  # type: ignore[no-untyped-def]
    expected = TOLD.get(run["run"], TOLD.get((run["set"], run["run"])))
    assert [fault.name for fault in diagnose(curve_of(run), Course(GUESSING[run["set"]]))] == expected


def test_words_have_the_figures_and_a_remedy() -> None:
    fault, _ = diagnose(named("low"))
    assert str(fault).startswith("learning rate too low: rows that were learned cost 1.42 nats a token, 1.42 before;")
    assert "learning_rate" in fault.remedy


def test_a_run_that_leaves_its_way_is_told_while_it_runs() -> None:
    curve = named("diverge")
    at = next(place for place, point in enumerate(curve) if point.step and point.seen_loss)
    assert {fault.name for fault in watch(curve[: at + 1])} == {"divergence", "learning rate too high"}
    assert watch(named("healthy")) == []


def test_a_run_that_gets_worse_on_others_is_told_while_it_runs() -> None:
    curve = named("overfit")
    looks = [place for place, point in enumerate(curve) if point.step and point.seen_loss]
    assert [len(watch(curve[: place + 1])) for place in looks] == [0, 1, 1]


def test_where_the_best_weights_are_kept_it_is_no_fault_that_later_ones_are_worse() -> None:
    told = {fault.name for fault in diagnose(named("overfit"), Course(keeps_best=True))}
    assert "over-fitting" not in told
    assert watch(named("overfit"), Course(keeps_best=True)) == []


def test_losses_before_rounding_began_are_not_compared_with_those_after() -> None:
    losses = [2.0, 1.0, 0.4, 0.5, 0.5, 0.5]
    looks = [(0, 2.0, 2.0), (2, 0.30, 0.40), (4, 0.29, 0.65), (6, 0.28, 0.64)]
    curve = [Point(0, 2.0, 2.0, seen_loss=2.0)]
    for step, loss in enumerate(losses, 1):
        seen, held_out = next(((seen, out) for at, seen, out in looks if at == step), (None, None))
        curve.append(Point(step, loss, held_out, seen_loss=seen))
    curve[-1] = replace(curve[-1], twice_as_far=1.0)
    assert [fault.name for fault in diagnose(curve)] == ["over-fitting"]
    assert diagnose(curve, Course(first_step=3)) == []


def test_of_a_model_that_knew_its_task_nothing_is_said() -> None:
    known = [Point(0, 0.02, 0.02, seen_loss=0.02), *(Point(step, 0.03, None) for step in range(1, 6))]
    known.append(Point(6, 0.03, 0.025, seen_loss=0.024, twice_as_far=0.03))
    assert diagnose(known, Course(guessing=0.7)) == []


def test_a_second_training_that_gained_nothing_more_is_healthy_where_its_steps_were_of_a_size_that_moves() -> None:
    again = [Point(0, 0.85, 0.92, seen_loss=0.85), *(Point(step, 0.85, None) for step in range(1, 6))]
    last = Point(6, 0.85, 0.92, seen_loss=0.848, twice_as_far=0.93)
    assert diagnose([*again, last]) == []
    too_small = {fault.name for fault in diagnose([*again, replace(last, seen_loss=0.849, twice_as_far=0.848)])}
    assert "learning rate too low" in too_small


def test_a_way_whose_double_would_ruin_all_is_too_steep_unless_rows_were_learned_by_heart() -> None:
    begin = [Point(0, 1.4, 1.4, seen_loss=1.4), *(Point(step, 1.3, None) for step in range(1, 6))]
    (fault,) = diagnose([*begin, Point(6, 0.8, 0.9, seen_loss=0.8, twice_as_far=20.0)])
    assert fault.name == "learning rate too high"
    by_heart = diagnose([*begin, Point(6, 0.1, 1.3, seen_loss=0.1, twice_as_far=20.0)])
    assert [fault.name for fault in by_heart] == ["too little data"]


def test_a_row_that_made_the_loss_leap_is_no_fault_of_the_steps() -> None:
    curve = named("healthy")
    leapt = [replace(point, loss=30.0, rows=("row-4",)) if point.step == 7 else point for point in curve]
    assert diagnose(leapt) == []


def test_nothing_is_said_of_a_run_without_rows_held_out_but_what_its_own_rows_show() -> None:
    without = [replace(point, validation_loss=None) for point in named("healthy")]
    assert diagnose(without) == []
    assert watch([replace(point, validation_loss=None) for point in named("overfit")]) == []
    assert [fault.name for fault in diagnose([replace(p, validation_loss=None) for p in named("low")])] == [
        "learning rate too low",
        "under-fitting",
    ]


def test_nothing_is_said_of_a_curve_that_an_older_version_wrote() -> None:
    assert diagnose([replace(point, seen_loss=None, twice_as_far=None) for point in named("low")]) == []
    assert diagnose([]) == []
