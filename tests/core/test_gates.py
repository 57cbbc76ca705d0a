from __future__ import annotations

import math
from typing import Any

import pytest

from slmops.core.errors import ConfigError
from slmops.core.gates import Verdict, check, parse_gates
from slmops.core.measurement import Interval

FIGURES = {
    "accuracy_kept": Interval(0.98, 0.952, 0.995),
    "accuracy": Interval(0.9, 0.87, 0.93),
    "memory_mb": Interval.exact(80.0),
    "model_bytes": Interval.exact(2_500_000.0),
    "latency_ratio": Interval(0.123, 0.11, 0.14),
}


def judge(**asked: Any) -> Verdict:
    (verdict,) = check(parse_gates(asked), FIGURES)
    return verdict


@pytest.mark.parametrize(
    "asked, passed, sentence",
    [
        ({"keep_accuracy": 0.97}, True, "keep_accuracy: 0.98 of the teacher's, 0.97 asked"),
        ({"keep_accuracy": 0.99}, False, "keep_accuracy: 0.98 of the teacher's, 0.99 asked"),
        ({"min_accuracy": 0.9}, True, "min_accuracy: 0.9, 0.9 asked"),
        ({"max_memory_mb": 79}, False, "max_memory_mb: 80, at most 79 asked"),
        ({"max_model_bytes": 3_000_000}, True, "max_model_bytes: 2500000, at most 3000000 asked"),
        ({"max_latency_ratio": 0.1}, False, "max_latency_ratio: 0.123 of the teacher's, at most 0.1 asked"),
        (
            {"keep_accuracy": {"at_least": 0.97, "bound": "low"}},
            False,
            "keep_accuracy: 0.952 of the teacher's at the interval's lower end, 0.97 asked",
        ),
        (
            {"max_latency_ratio": {"at_most": 0.15, "bound": "high"}},
            True,
            "max_latency_ratio: 0.14 of the teacher's at the interval's upper end, at most 0.15 asked",
        ),
    ],
)
def test_a_verdict_says_what_was_found_and_what_was_asked(asked: dict[str, Any], passed: bool, sentence: str) -> None:
    verdict = judge(**asked)
    assert (verdict.passed, verdict.sentence) == (passed, sentence)


def test_a_near_miss_does_not_read_like_a_hit() -> None:
    (verdict,) = check(parse_gates({"keep_accuracy": 0.97}), {"accuracy_kept": Interval.exact(0.96998)})
    assert not verdict.passed and "0.96998 of" in verdict.sentence


def test_rounding_decides_nothing() -> None:
    (verdict,) = check(parse_gates({"min_accuracy": 0.3}), {"accuracy": Interval.exact(0.1 + 0.2 - 1e-16)})
    assert verdict.passed


@pytest.mark.parametrize("gate", ["min_accuracy", "max_accuracy"])
def test_what_could_not_be_measured_passes_no_gate(gate: str) -> None:
    (verdict,) = check(parse_gates({gate: 0.5}), {"accuracy": Interval.exact(math.nan)})
    assert not verdict.passed


def test_a_gate_on_an_unmeasured_figure_names_the_measured_ones() -> None:
    with pytest.raises(ConfigError, match=r"gates\.min_bleu: .*'bleu'.* — measured are: accuracy, accuracy_kept"):
        judge(min_bleu=0.3)


@pytest.mark.parametrize(
    "asked",
    [
        {"accuracy": 0.9},
        {"keep_": 0.9},
        {"min_accuracy": True},
        {"min_accuracy": "0.9"},
        {"min_accuracy": math.nan},
        {"min_accuracy": {"at_most": 0.9}},
        {"max_memory_mb": {"at_least": 80}},
        {"min_accuracy": {"at_least": 0.9, "bound": "middle"}},
        {"min_accuracy": {"at_least": 0.9, "level": 0.5}},
        {"min_accuracy": None},
    ],
)
def test_what_is_no_gate_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="gates"):
        parse_gates(asked)
