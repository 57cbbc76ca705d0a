"""How sure a figure is: bootstrap intervals, paired comparisons, McNemar's test.

In come rows (example, statistic) whose sums reduce to a figure, or times; out come intervals. Two models compared are
measured on the same examples, and an example's two rows are always drawn together. Knows no metric and no threshold.

Sources: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993): percentile interval §13.3, BCa §14.3.
Q. McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12 (1947).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slmops.core.errors import need
from slmops.core.measurement import Interval

Rows = NDArray[np.float64]
Reduce = Callable[[Rows], Rows]

_SAMPLES = 10_000
_FEW, _MANY_RUNS = 2_000, 4
_DRAWN_AT_ONCE = 4_000_000  # indices: 32 MB
_NORMAL = NormalDist()
_ONE_DEVIATION = 2 * _NORMAL.cdf(1) - 1  # the level of an interval that reaches one standard deviation to both sides


def bootstrap(
    metric_rows: ArrayLike,
    reduce: Reduce,
    *,
    seed: int,
    level: float = 0.95,
    samples: int = _SAMPLES,
    bounds: tuple[float, float] | None = None,
    mirrored: bool = False,
) -> Interval:
    """The figure `reduce(sums)` of (example, statistic) rows with its BCa interval; or its percentile interval
    `mirrored` at the figure, as far as that leaves the figure in: of one that chance alone raises.

    BCa, because shares near 1 are skewed: of an accuracy of 0.97 on 360 examples the truth lay below the 95 % interval
    in 2.0 % of 1,500 simulations, below the percentile interval in 4.6 %. Where all that is drawn agrees, it has no
    width; if the least and most are told that the figure can be (`bounds`), it reaches as far towards them as examples
    may that none of these was. An undefined figure (0/0) is NaN, which no gate lets pass.
    """
    rows = np.asarray(metric_rows, dtype=np.float64)
    total = rows.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(reduce(total))
        if not math.isfinite(value):
            return Interval(math.nan, math.nan, math.nan, level, len(rows))
        drawn = np.concatenate([reduce(counts @ rows) for counts in _draw_counts(len(rows), samples, seed)])
        left_out = reduce(total - rows)  # the jackknife
    drawn = drawn[np.isfinite(drawn)]
    if mirrored:
        least, most = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        low, high = min(2 * value - most, value), max(2 * value - least, value)
    else:
        low, high = np.quantile(drawn, _corrected_levels(value, drawn, left_out[np.isfinite(left_out)], level))
    if bounds and np.ptp(drawn) == 0:
        unseen = _most_unseen(len(rows), level)
        low, high = value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value)
    return Interval(value, float(low), float(high), level, len(rows))


def _most_unseen(count: int, level: float) -> float:
    """The largest share that a kind of example may have of which none was among `count`: the upper end of the interval
    of 0 in `count` (Clopper & Pearson, The use of confidence or fiducial limits, Biometrika 26, 1934)."""
    return float(1 - ((1 - level) / 2) ** (1 / count))


def paired_difference(
    rows_a: Rows, rows_b: Rows, reduce: Reduce, *, seed: int, level: float = 0.95, samples: int = _SAMPLES
) -> Interval:
    """By how much a's figure is above b's, both shares measured on the same examples."""
    return _paired(rows_a, rows_b, reduce, np.subtract, seed, level, samples, (-1, 1))


def paired_ratio(
    rows_a: Rows, rows_b: Rows, reduce: Reduce, *, seed: int, level: float = 0.95, samples: int = _SAMPLES
) -> Interval:
    """What a's figure is of b's, both shares measured on the same examples: what a student keeps of its teacher's."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ours, theirs = (float(reduce(rows.sum(axis=0))) for rows in (rows_a, rows_b))
        bounds = (float(np.divide(ours - 1, theirs)) if ours else 0.0, float(np.divide(ours + 1, theirs)))
    return _paired(rows_a, rows_b, reduce, np.divide, seed, level, samples, bounds)


def difference_over_runs(runs_a: Rows, runs_b: Rows, reduce: Reduce, *, seed: int, level: float = 0.95) -> Interval:
    """By how much a's figure is above b's, where each was trained twice or more: (run, example, statistic) rows.

    Two things are chance: which examples were asked, drawn together for all by the bootstrap; and what each training
    came to, whose spread is told by the runs' own figures. Their variances add up, and with few runs the interval is as
    wide as Student's t makes it (Welch 1947, The generalization of "Student's" problem, equation 29).
    """
    student = need("scipy.stats", "evaluation").t

    def of_answers(runs: Rows) -> float:
        """The part of the spread of their mean that comes of single answers, which `rows` has already; of few runs it
        is not told well enough to be taken off."""
        pairs = list(combinations(runs, 2)) if len(runs) >= _MANY_RUNS else []
        compared = partial(paired_difference, reduce=reduce, seed=seed, level=_ONE_DEVIATION, samples=_FEW)
        apart = [compared(one, other) for one, other in pairs]
        return float(np.mean([((of.high - of.low) / 2) ** 2 for of in apart])) / 2 / len(runs) if apart else 0.0

    means = [runs.mean(axis=0) for runs in (runs_a, runs_b)]
    rows = paired_difference(means[0], means[1], reduce, seed=seed, level=_ONE_DEVIATION)
    of_rows = ((rows.high - rows.low) / 2) ** 2
    spread = [float(np.var(reduce(runs.sum(axis=1)), ddof=1)) / len(runs) for runs in (runs_a, runs_b)]
    of_runs = [max(0.0, part - of_answers(runs)) for part, runs in zip(spread, (runs_a, runs_b), strict=True)]
    variance = of_rows + sum(of_runs)
    parts = zip((of_rows, *of_runs), (max(1, runs_a.shape[1] - 1), len(runs_a) - 1, len(runs_b) - 1), strict=True)
    freedom = variance**2 / sum(part**2 / of for part, of in parts if part) if variance else math.inf
    reach = float(student.ppf((1 + level) / 2, freedom)) * math.sqrt(variance)
    return Interval(rows.value, rows.value - reach, rows.value + reach, level, runs_a.shape[1])


def mcnemar(correct_a: Sequence[bool], correct_b: Sequence[bool]) -> float:
    """The exact two-sided p of McNemar's test: how likely so uneven a split of the examples that only one of two
    equally good models gets right."""
    pairs = list(zip(correct_a, correct_b, strict=True))
    only_a, only_b = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    differing = only_a + only_b
    tail = sum(math.comb(differing, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**differing)


def swap_test(rows_a: Rows, rows_b: Rows, reduce: Reduce, *, seed: int, samples: int = _SAMPLES) -> float:
    """The two-sided p of a paired permutation test: how likely figures so far apart are if it were chance which of two
    rows of an example is whose (Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989, chapter 2). NaN where
    the figures are undefined."""
    total_a, total_b, apart = rows_a.sum(axis=0), rows_b.sum(axis=0), rows_a - rows_b
    generator = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // len(rows_a))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(np.abs(reduce(total_a) - reduce(total_b)))
        nearer = 0
        for start in range(0, samples, at_once):
            swapped = generator.integers(2, size=(min(at_once, samples - start), len(rows_a))) @ apart
            drawn = np.abs(reduce(total_a - swapped) - reduce(total_b + swapped))
            nearer += int((drawn < found - 1e-12).sum())
    return (1 + samples - nearer) / (1 + samples) if math.isfinite(found) else math.nan


def percentile_interval(values: ArrayLike, percentile: float, *, level: float = 0.95) -> Interval:
    """The percentile (0 … 100) of `values`, between two of them: those whose ranks hold it at that level whatever the
    values' distribution (David & Nagaraja, Order Statistics, 2003, section 7.1). Where even the largest is not so high
    a rank, as for the 95th of fewer than 73 values, the interval ends there."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    below = np.cumsum(_binomial(len(ordered), percentile / 100))  # (count,) chances of at most so many below it
    low = int(np.searchsorted(below, (1 - level) / 2, side="right"))
    high = int(np.searchsorted(below, (1 + level) / 2, side="left")) + 1
    least, most = (float(ordered[min(max(rank, 1), len(ordered)) - 1]) for rank in (low, high))
    return Interval(float(np.percentile(ordered, percentile)), least, most, level, len(ordered))


def _binomial(count: int, share: float) -> NDArray[np.float64]:
    """(count + 1,) chances that so many of `count` are of a kind that has this share."""
    numbers = np.arange(count + 1)
    logs = np.array([math.lgamma(number + 1) for number in numbers])
    ways = logs[-1] - logs - logs[::-1]
    chances: NDArray[np.float64] = np.exp(ways + numbers * math.log(share) + (count - numbers) * math.log1p(-share))
    return chances


def paired_latency_reduction(
    before_ms: ArrayLike,
    after_ms: ArrayLike,
    *,
    seed: int,
    percentile: float | None = None,
    level: float = 0.95,
    samples: int = _SAMPLES,
) -> Interval:
    """The share of time saved on the same prompts, 1 - after / before: of the means, or of a percentile (0 … 100)."""
    pairs = np.stack([np.asarray(before_ms, dtype=np.float64), np.asarray(after_ms, dtype=np.float64)])  # (2, prompt)
    if percentile is None:
        return bootstrap(pairs.T, _saved, seed=seed, level=level, samples=samples)
    return _interval_of_draws(
        pairs, lambda drawn: _saved(np.percentile(drawn, percentile, axis=-1).T), seed, level, samples
    )


def _saved(before_after: Rows) -> Rows:
    return np.asarray(1 - before_after[..., 1] / before_after[..., 0])


def _paired(
    rows_a: Rows,
    rows_b: Rows,
    reduce: Reduce,
    combine: Callable[[Rows, Rows], Rows],
    seed: int,
    level: float,
    samples: int,
    bounds: tuple[float, float],
) -> Interval:
    columns = rows_a.shape[1]
    return bootstrap(
        np.concatenate([rows_a, rows_b], axis=1),
        lambda sums: combine(reduce(sums[..., :columns]), reduce(sums[..., columns:])),
        seed=seed,
        level=level,
        samples=samples,
        bounds=bounds,
    )


def _interval_of_draws(columns: Rows, figure: Reduce, seed: int, level: float, samples: int) -> Interval:
    """Percentile interval of `figure`, which maps (…, example) values to (…): for what no sums tell."""
    count = columns.shape[-1]
    drawn = np.concatenate([figure(columns[..., chosen]) for chosen in _draw(count, samples, seed)])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(figure(columns)), float(low), float(high), level, count)


def _draw(count: int, samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """(sample, draw) indices of `count` examples drawn with replacement, as many samples at once as memory allows."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // count)
    for start in range(0, samples, at_once):
        yield generator.integers(count, size=(min(at_once, samples - start), count))


def _draw_counts(count: int, samples: int, seed: int) -> Iterator[Rows]:
    """(sample, example): how often each example was drawn."""
    for chosen in _draw(count, samples, seed):
        cells = chosen + count * np.arange(len(chosen))[:, None]
        yield np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape).astype(np.float64)


def _corrected_levels(value: float, drawn: Rows, left_out: Rows, level: float) -> list[float]:
    """Which quantiles of `drawn` bound the BCa interval: bias by equation 14.14, acceleration by 14.15, 14.10."""
    below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2  # ties count half
    bias = _NORMAL.inv_cdf(float(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn))))
    apart = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = float((apart**2).sum())
    acceleration = float((apart**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0

    def corrected(tail: float) -> float:
        shifted = bias + _NORMAL.inv_cdf(tail)
        return _NORMAL.cdf(bias + shifted / (1 - acceleration * shifted))

    return [corrected((1 - level) / 2), corrected((1 + level) / 2)]
