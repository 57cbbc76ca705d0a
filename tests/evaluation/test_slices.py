"""Parts of the test on which a student lost."""

from __future__ import annotations

import numpy as np
import pytest

from slmops.core.measurement import Interval
from slmops.evaluation.ledger import show_ledger, show_making, show_slices
from slmops.evaluation.slices import slices
from slmops.evaluation.summary import Making, Slice
from tests.evaluation.example import make_summary

TEXTS = ["x" * length for length in range(1, 31)]


def parts_of(
    texts: list[str], labels: list[str], languages: list[str], teacher: list[float], student: list[float]
) -> list[Slice]:
    rows = [np.c_[scores, np.ones(len(scores))] for scores in (teacher, student)]
    return slices(texts, labels, languages, *rows, lambda sums: sums[..., 0] / sums[..., 1], seed=1)


def test_the_part_where_most_was_lost_comes_first() -> None:
    labels = ["refund"] * 10 + ["track"] * 20
    teacher, student = [1.0] * 30, [0.0] * 8 + [1.0] * 22
    found = parts_of(TEXTS, labels, [], teacher, student)
    assert [(part.kind, part.name, part.rows) for part in found[:2]] == [
        ("label", "refund", 10),
        ("length", "short (1 to 10 characters)", 10),
    ]
    assert found[0].difference.value == pytest.approx(-0.8) and found[0].difference.high < 0
    assert (found[0].teacher, found[0].student) == pytest.approx((1.0, 0.2))
    assert {part.name for part in found[2:] if part.difference.value == 0} >= {"track"}


def test_free_answers_have_no_labels_and_few_rows_say_nothing() -> None:
    found = parts_of(TEXTS[:12], [], [], [1.0] * 12, [0.5] * 12)
    assert found == []
    assert {part.kind for part in parts_of(TEXTS, [], [], [1.0] * 30, [0.5] * 30)} == {"length"}


def test_languages_are_parts_where_there_are_several() -> None:
    student = [0.0] * 6 + [1.0] * 24
    languages = ["de"] * 6 + ["en"] * 20 + ["fr"] * 2 + [""] * 2
    found = parts_of(TEXTS, [], languages, [1.0] * 30, student)
    assert [(part.name, part.rows) for part in found if part.kind == "language"] == [("in de", 6), ("in en", 20)]
    assert found[0].name == "in de"
    alone = parts_of(TEXTS, [], ["en"] * 30, [1.0] * 30, student)
    assert {part.kind for part in alone} == {"length"}


def test_points_are_lost_in_steps_with_or_without_an_untaught_student() -> None:
    apart = [("int4", "teacher", -0.03), ("student", "teacher", -0.02), ("int4", "student", -0.01)]
    told = [{"a": a, "b": b, "metric": "accuracy", "difference": Interval.exact(by)} for a, b, by in apart]
    summary = make_summary(comparisons=told)
    shown = str(show_ledger(summary))
    assert "−2.0\u00a0points" in shown.partition("made smaller, and taught")[2].partition("quantized: int4")[0]
    assert "−1.0\u00a0points" in shown.partition("quantized: int4")[2].partition("in Foundry Local")[0]
    assert "−3.0" not in shown and "Before it learned, the student came to 12.1\u00a0%" in shown
    kept = [one for one in summary.subjects if one.name != "untrained"]
    without = str(show_ledger(make_summary(comparisons=told, subjects=kept)))
    assert "made smaller, and taught" in without and "Before it learned" not in without
    whole = str(show_ledger(make_summary(comparisons=told[:1])))
    assert "all steps together" in whole and "−3.0" in whole
    alone = str(show_ledger(make_summary(comparisons=told[2:])))
    assert "the student" in alone and "quantized: int4" in alone and "the teacher" not in alone


def test_the_report_says_how_often_both_agree_and_what_it_cost() -> None:
    parts = parts_of(TEXTS, [], [], [1.0] * 30, [0.5] * 30)
    summary = make_summary(slices=parts, agreement={"value": 0.9, "low": 0.85, "high": 0.95})
    assert "Both answer the same to 90.0" in str(show_slices(summary))
    assert "too few messages for parts" in str(show_slices(summary.model_copy(update={"slices": ()})))
    made = make_summary(making=Making(seconds=600, usd=0.0167, break_even_answers=12345.6))
    assert "saved after 12,346 answers" in str(show_making(made))
    paid = Making(seconds=600, usd=0.5, endpoint_usd=0.4, teacher_usd_per_million=155.0, break_even_answers=12345.6)
    told = str(show_making(make_summary(making=paid)))
    assert "$0.500, $0.400 of it for an endpoint’s answers; a million of the teacher’s answers cost $155, saved" in told
    never = make_summary(making=Making(seconds=600, usd=0.0167))
    assert "saved" not in str(show_making(never))
