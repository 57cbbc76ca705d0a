"""Turns answers and times into figures: each with its interval, paired where two models answered the same rows.

In come what subjects answered and the gold; out go figures and gains by name. Pure: runs nothing, knows no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import InvalidAnswer
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
from slmops.evaluation.benchmark import Benchmarked
from slmops.tasks.metrics import Mean
from slmops.tasks.types import Json, Metric, Task

Figures = dict[str, Interval]


@dataclass(frozen=True)
class Compared:
    """`a` against `b` on the same rows: the difference of a figure, and the p-value of the paired test; None where the
    figure is undefined."""

    a: str
    b: str
    metric: str
    difference: Interval
    p_value: float | None


def parse_all(task: Task, texts: Sequence[str]) -> list[Json | None]:
    """Each text's answer, None where it is none."""
    answers: list[Json | None] = []
    for text in texts:
        try:
            answers.append(task.parse(text))
        except InvalidAnswer:
            answers.append(None)
    return answers


def quality_figures(task: Task, predicted: Sequence[Json | None], gold: Sequence[Json], seed: int) -> Figures:
    """The task's metrics with bootstrap intervals."""
    return {
        metric.name: bootstrap(metric.rows(predicted, gold), metric.reduce, seed=seed, bounds=(0, 1))
        for metric in task.metrics
    }


def cost_figures(done: Benchmarked, usd_per_hour: float, seed: int) -> Figures:
    """Times, memory, bytes, throughput and cost of a benchmarked model."""
    figures = time_figures([answer.latency_ms for answer in done.timed], usd_per_hour, seed)
    figures |= {
        "ttft_ms": percentile_interval([answer.ttft_ms for answer in done.timed], 50),
        "peak_memory_mb": Interval.exact(done.peak_memory_mb),
        "load_memory_mb": Interval.exact(done.load_memory_mb),
        "load_s": Interval.exact(done.load_s),
        "cpu_percent": Interval.exact(done.cpu_percent),
        "model_bytes": Interval.exact(float(done.model_bytes)),
        "disk_bytes": Interval.exact(float(done.disk_bytes)),
    }
    if len(done.token_ms) >= 2:
        figures["per_token_ms"] = percentile_interval(done.token_ms, 50)
    return figures


def time_figures(latencies_ms: Sequence[float], usd_per_hour: float, seed: int) -> Figures:
    """What follows from how long each message takes, asked alone."""
    latency = np.array(latencies_ms)
    mean = bootstrap(np.c_[latency, np.ones(len(latency))], lambda sums: sums[..., 0] / sums[..., 1], seed=seed)
    return {
        "latency_ms": percentile_interval(latency, 50),
        "latency_p95_ms": percentile_interval(latency, 95),
        "throughput_per_s": Interval(1e3 / mean.value, 1e3 / mean.high, 1e3 / mean.low, mean.level, mean.n),
        "cost_per_million_usd": mean.scaled(usd_per_hour / 3.6),  # ms × USD/h ÷ 3.6·10⁶ ms/h × 10⁶ answers
    }


def gains(
    task: Task,
    ours: Benchmarked,
    theirs: Benchmarked,
    predicted: Mapping[str, Sequence[Json | None]],
    gold: Sequence[Json],
    seed: int,
) -> Figures:
    """What `ours` keeps and saves of `theirs`: each metric's share kept, and reductions (0.9 means 90 % less)."""
    figures = {
        f"{metric.name}_kept": paired_ratio(
            metric.rows(predicted[ours.name], gold), metric.rows(predicted[theirs.name], gold), metric.reduce, seed=seed
        )
        for metric in task.metrics
    }
    before, after = ([answer.latency_ms for answer in done.timed] for done in (theirs, ours))
    figures["latency_reduction"] = paired_latency_reduction(before, after, seed=seed)
    figures["latency_ratio"] = figures["latency_reduction"].remaining()
    for name, mine, other in (
        ("model_bytes", ours.model_bytes, theirs.model_bytes),
        ("memory", ours.peak_memory_mb, theirs.peak_memory_mb),
        ("load_memory", ours.load_memory_mb, theirs.load_memory_mb),
    ):
        figures[f"{name}_reduction"] = Interval.exact(1 - mine / other)
        figures[f"{name}_ratio"] = Interval.exact(mine / other)
    return figures


def compare_pairs(
    task: Task,
    pairs: Sequence[tuple[str, str]],
    predicted: Mapping[str, Sequence[Json | None]],
    gold: Sequence[Json],
    seed: int,
) -> list[Compared]:
    """Differences of the first metric with their intervals and p-values: McNemar's exact ones where it is the share of
    answers that are right, and nothing between right and wrong, else those of a permutation test."""
    metric = task.metrics[0]
    compared = []
    for a, b in pairs:
        ours, theirs = metric.rows(predicted[a], gold), metric.rows(predicted[b], gold)
        difference = paired_difference(ours, theirs, metric.reduce, seed=seed)
        right, others = scores(metric, ours), scores(metric, theirs)
        decided = isinstance(metric, Mean) and {*right, *others} <= {0.0, 1.0}
        if decided:
            p_value = mcnemar([score == 1 for score in right], [score == 1 for score in others])
        else:
            p_value = swap_test(ours, theirs, metric.reduce, seed=seed)
        compared.append(Compared(a, b, metric.name, difference, p_value if math.isfinite(p_value) else None))
    return compared


def scores(metric: Metric, rows: NDArray[np.float64]) -> list[float]:
    """The figure of each row alone."""
    return [float(score) for score in np.atleast_1d(metric.reduce(rows))]
