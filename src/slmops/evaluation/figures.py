"""What each measured figure is called, its unit, which way is better, and how a value of it is written.

In come values and intervals, out goes text for people. A figure that is not listed is a user's own, a share, shown
under its own name. Knows no page and no subject.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from slmops.core.measurement import Interval

Unit = Literal["share", "reduction", "ratio", "ms", "s", "MB", "bytes", "/s", "%", "$", ""]
Better = Literal["higher", "lower"]

MISSING = "–"


@dataclass(frozen=True)
class Figure:
    """A figure's group in a table, the words for it, its unit, and which way is better (None: neither)."""

    group: str
    label: str
    unit: Unit
    better: Better | None


@dataclass(frozen=True)
class Gained:
    """The words for a gain, its unit, the figure beside it, and what that is where it is not what the gain is of."""

    label: str
    unit: Unit
    figure: str
    beside: str = ""


FIGURES = {
    "accuracy": Figure("Quality", "accuracy", "share", "higher"),
    "macro_f1": Figure("Quality", "macro F1", "share", "higher"),
    "entity_f1": Figure("Quality", "entity F1", "share", "higher"),
    "task_success": Figure("Quality", "task success", "share", "higher"),
    "tests_passed": Figure("Quality", "tests passed", "share", "higher"),
    "exact_match": Figure("Quality", "exact match", "share", "higher"),
    "token_f1": Figure("Quality", "token F1", "share", "higher"),
    "rougel": Figure("Quality", "ROUGE-L", "share", "higher"),
    "rouge1": Figure("Quality", "ROUGE-1", "share", "higher"),
    "rouge2": Figure("Quality", "ROUGE-2", "share", "higher"),
    "chrf": Figure("Quality", "chrF", "share", "higher"),
    "bleu": Figure("Quality", "BLEU", "share", "higher"),
    "names_kept": Figure("Quality", "names and numbers kept", "share", "higher"),
    "length_match": Figure("Quality", "length as asked", "share", "higher"),
    "valid_answers": Figure("Quality", "valid answers", "share", "higher"),
    "calibration_error": Figure("Quality", "calibration error", "share", "lower"),
    "latency_ms": Figure("Speed", "latency, median", "ms", "lower"),
    "latency_p95_ms": Figure("Speed", "latency, 95th percentile", "ms", "lower"),
    "ttft_ms": Figure("Speed", "time to first token", "ms", "lower"),
    "per_token_ms": Figure("Speed", "time per token", "ms", "lower"),
    "throughput_per_s": Figure("Speed", "answers per second", "/s", "higher"),
    "load_s": Figure("Speed", "time to load", "s", "lower"),
    "model_bytes": Figure("Size", "model files", "bytes", "lower"),
    "disk_bytes": Figure("Size", "whole folder", "bytes", "lower"),
    "peak_memory_mb": Figure("Memory and processor", "peak memory", "MB", "lower"),
    "load_memory_mb": Figure("Memory and processor", "added by the model", "MB", "lower"),
    "cpu_percent": Figure("Memory and processor", "processor (100 % = one core)", "%", None),
    "cost_per_million_usd": Figure("Cost", "a million answers", "$", "lower"),
}

# What a student keeps or saves of its teacher's, by its field in `summary.Gain`, and the figure that is compared.
_SAVED = {
    "latency_reduction": Gained("mean time per answer", "reduction", "latency_ms", "medians "),
    "model_bytes_reduction": Gained("size of the model files", "reduction", "model_bytes"),
    "memory_reduction": Gained("peak memory", "reduction", "peak_memory_mb"),
}


def gains_of(quality: str) -> dict[str, Gained]:
    """The headline gains where the figure `quality` decides."""
    return {"quality_kept": Gained(f"{describe_figure(quality).label} kept", "share", quality), **_SAVED}


def describe_figure(name: str) -> Figure:
    """How the figure `name` is shown."""
    words = name.replace("_", " ")
    if name.endswith("_ratio"):
        return Figure("Further figures", words, "ratio", "lower")
    return FIGURES.get(name) or Figure("Further figures", words, "share", "higher")


def write(value: float, unit: Unit) -> str:
    """A value with its unit: `93.8 %`, `−95.2 %` (a reduction of 0.952), `7.94 ms`, `$0.21`."""
    number = _number(value, unit)
    match unit:
        case "share" | "reduction":
            return f"{number}\u00a0%"
        case "ratio":
            return f"{number}\u00a0×"
        case "bytes":
            return f"{number}\u00a0MB"
        case "$":
            return f"${number}"
        case _:
            return f"{number}\u00a0{unit}".rstrip()


def write_figure(interval: Interval | None, unit: Unit) -> str:
    """The point estimate with its unit, or a dash."""
    return MISSING if interval is None else write(interval.value, unit)


def write_range(interval: Interval | None, unit: Unit) -> str:
    """`95.1 to 99.2`, without the unit; nothing for an exact figure."""
    if interval is None or interval.low == interval.high:
        return ""
    return f"{_number(interval.low, unit)} to {_number(interval.high, unit)}"


def write_level(interval: Interval | None) -> str:
    """`95 %`."""
    return MISSING if interval is None else f"{100 * interval.level:.0f}\u00a0%"


def write_difference(interval: Interval, unit: Unit) -> tuple[str, str]:
    """`−1.2 points` and `−3.8 to +0.9`; a difference of shares is in percentage points."""
    scale, word = (100, "points") if unit == "share" else (1, unit)
    value, low, high = (
        f"{scale * part:+.1f}".replace("-", "−") for part in (interval.value, interval.low, interval.high)
    )
    return f"{value}\u00a0{word}".rstrip(), f"{low} to {high}"


def write_times(share: float) -> str:
    """A share as people say it: `1/21 of` (0.048), `1.3 times`."""
    times = 1 / share if share < 1 else share
    digits = f"{times:.0f}" if times >= 9.95 else f"{times:.1f}"
    return f"1/{digits} of" if share < 1 else f"{digits} times"


def write_duration(seconds: float) -> str:
    """`0.4 s`, `41 s`, `3 min 12 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest}\u00a0s"
    return f"{minutes}\u00a0min {rest}\u00a0s" if minutes < 60 else f"{minutes // 60}\u00a0h {minutes % 60}\u00a0min"


def _number(value: float, unit: Unit) -> str:
    if unit == "reduction":
        return f"{-100 * value:+.1f}".replace("-", "−")
    if unit == "share":
        return f"{100 * value:.1f}".replace("-", "−")
    return _three_digits(value / 1e6 if unit == "bytes" else value).replace("-", "−")


def _three_digits(value: float) -> str:
    decimals = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, decimals)}f}"
