"""The section `gates`: which figures of the shipped model may be asked for. What a gate decides, `core.gates` knows.

A key for each, so that editors complete them and a misspelt one gets its neighbour named; and gates of the metrics that
a project names of its own, which it checks itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from slmops.core.config import Section
from slmops.core.gates import Gate
from slmops.evaluation.figures import describe_figure

_BOUND = "which end of the interval must hold: value (the estimate), low or high"
_MOST_KEPT = 2.0  # a student may be better than its teacher, but not 97 times as good
_Bound = Literal["value", "low", "high"]


class AtLeast(Section):
    """A lower limit."""

    main: ClassVar[str] = "at_least"

    at_least: float = Field(ge=0, description="a number, or {at_least: number, bound: low}")
    bound: _Bound = Field(default="value", description=_BOUND)


class AtMost(Section):
    """An upper limit."""

    main: ClassVar[str] = "at_most"

    at_most: float = Field(ge=0, description="a number, or {at_most: number, bound: high}")
    bound: _Bound = Field(default="value", description=_BOUND)


class GatesConfig(Section):
    """What the shipped model must reach before anything is published."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, AtLeast | AtMost]

    keep_accuracy: AtLeast | None = Field(default=None, description="the least share of the teacher's accuracy")
    keep_macro_f1: AtLeast | None = Field(default=None, description="the least share of the teacher's macro F1")
    keep_entity_f1: AtLeast | None = Field(default=None, description="the least share of the teacher's entity F1")
    keep_task_success: AtLeast | None = Field(default=None, description="the least share of the teacher's task success")
    keep_exact_match: AtLeast | None = Field(default=None, description="the least share of the teacher's exact match")
    keep_token_f1: AtLeast | None = Field(default=None, description="the least share of the teacher's token F1")
    keep_rougel: AtLeast | None = Field(default=None, description="the least share of the teacher's ROUGE-L")
    keep_rouge1: AtLeast | None = Field(default=None, description="the least share of the teacher's ROUGE-1")
    keep_rouge2: AtLeast | None = Field(default=None, description="the least share of the teacher's ROUGE-2")
    keep_names_kept: AtLeast | None = Field(
        default=None, description="the least share of the teacher's share of names and numbers kept"
    )
    keep_length_match: AtLeast | None = Field(default=None, description="the least share of the teacher's length match")
    keep_chrf: AtLeast | None = Field(default=None, description="the least share of the teacher's chrF")
    keep_bleu: AtLeast | None = Field(default=None, description="the least share of the teacher's BLEU")
    keep_tests_passed: AtLeast | None = Field(default=None, description="the least share of the teacher's tests passed")
    keep_valid_answers: AtLeast | None = Field(default=None, description="the least share of its valid answers")

    min_accuracy: AtLeast | None = Field(default=None, description="the least accuracy, 0 to 1")
    min_macro_f1: AtLeast | None = Field(default=None, description="the least macro F1, 0 to 1")
    min_entity_f1: AtLeast | None = Field(default=None, description="the least entity F1, 0 to 1")
    min_task_success: AtLeast | None = Field(default=None, description="the least task success, 0 to 1")
    min_exact_match: AtLeast | None = Field(default=None, description="the least exact match, 0 to 1")
    min_token_f1: AtLeast | None = Field(default=None, description="the least token F1, 0 to 1")
    min_rougel: AtLeast | None = Field(default=None, description="the least ROUGE-L, 0 to 1")
    min_rouge1: AtLeast | None = Field(default=None, description="the least ROUGE-1, 0 to 1")
    min_rouge2: AtLeast | None = Field(default=None, description="the least ROUGE-2, 0 to 1")
    min_names_kept: AtLeast | None = Field(
        default=None, description="the least share of names and numbers kept, 0 to 1"
    )
    min_length_match: AtLeast | None = Field(default=None, description="the least length match, 0 to 1")
    min_chrf: AtLeast | None = Field(default=None, description="the least chrF, 0 to 1")
    min_bleu: AtLeast | None = Field(default=None, description="the least BLEU, 0 to 1")
    min_tests_passed: AtLeast | None = Field(default=None, description="the least tests passed, 0 to 1")
    min_valid_answers: AtLeast | None = Field(default=None, description="the least share of valid answers, 0 to 1")
    min_throughput_per_s: AtLeast | None = Field(default=None, description="the least answers a second")

    min_latency_reduction: AtLeast | None = Field(default=None, description="the least latency saved, 0.9 being 90 %")
    min_memory_reduction: AtLeast | None = Field(
        default=None, description="the least peak memory saved, 0.9 being 90 %"
    )
    min_model_bytes_reduction: AtLeast | None = Field(default=None, description="the least bytes saved, 0.9 being 90 %")

    max_calibration_error: AtMost | None = Field(default=None, description="the most calibration error, 0 to 1")
    max_latency_ms: AtMost | None = Field(default=None, description="the longest median latency")
    max_latency_p95_ms: AtMost | None = Field(default=None, description="the longest latency of 95 in 100 answers")
    max_ttft_ms: AtMost | None = Field(default=None, description="the longest median time to the first token")
    max_per_token_ms: AtMost | None = Field(default=None, description="the longest median time a token")
    max_load_s: AtMost | None = Field(default=None, description="the longest time to load")
    max_model_bytes: AtMost | None = Field(default=None, description="the largest size of the model's files")
    max_disk_bytes: AtMost | None = Field(default=None, description="the largest size of the whole folder")
    max_peak_memory_mb: AtMost | None = Field(default=None, description="the most memory that answering takes")
    max_load_memory_mb: AtMost | None = Field(default=None, description="the most memory that the model adds")
    max_cost_per_million_usd: AtMost | None = Field(default=None, description="the highest price of a million answers")

    max_latency_ratio: AtMost | None = Field(default=None, description="the largest share of the teacher's latency")
    max_memory_ratio: AtMost | None = Field(default=None, description="the largest share of the teacher's peak memory")
    max_load_memory_ratio: AtMost | None = Field(default=None, description="the largest share of what the teacher adds")
    max_model_bytes_ratio: AtMost | None = Field(default=None, description="the largest share of the teacher's bytes")

    def asked(self) -> dict[str, dict[str, Any]]:
        """The gates that are set, as `core.gates.parse_gates` takes them."""
        return self.model_dump(exclude_none=True)


def gates_of(metric: str) -> tuple[str, str]:
    """The gates that a metric of a project's own may have."""
    return f"keep_{metric}", f"min_{metric}"


def most_of(gate: Gate, own_metrics: Collection[str]) -> float:
    """The highest threshold that makes sense: of a share, all of it. More is a percentage."""
    if gate.kind == "keep":
        return _MOST_KEPT
    is_share = gate.figure.endswith("_reduction") or describe_figure(gate.figure).unit == "share"
    return 1.0 if is_share or gate.figure in own_metrics else math.inf
