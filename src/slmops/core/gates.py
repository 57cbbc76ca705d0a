"""Gates: what a figure must reach before anything is published. Pure decisions over measured intervals.

    keep_X: 0.97          X is at least 0.97 of the teacher's     reads the figure X_kept
    min_X: 0.9            X is at least 0.9                       reads X
    max_X: 80             X is at most 80                         reads X
    max_X_ratio: 0.1      X is at most 0.1 of the teacher's       reads X_ratio

A number asks of the point estimate; `{at_least: 0.97, bound: low}` (`at_most` for max) asks of the interval's lower
or, with `bound: high`, upper end. Knows no metric and does not know how figures are measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from slmops.core.errors import ConfigError
from slmops.core.measurement import Interval

Kind = Literal["keep", "min", "max", "ratio"]
Bound = Literal["value", "low", "high"]

_ENDS = {"value": "", "low": " at the interval's lower end", "high": " at the interval's upper end"}


@dataclass(frozen=True)
class Gate:
    """`figure`, at its `bound`, must be at least (keep, min) or at most (max, ratio) `threshold`."""

    name: str
    figure: str
    kind: Kind
    threshold: float
    bound: Bound = "value"

    @property
    def at_least(self) -> bool:
        return self.kind in ("keep", "min")


@dataclass(frozen=True)
class Verdict:
    """Whether a figure passed its gate, and the sentence that says so."""

    gate: Gate
    passed: bool
    measured: Interval
    sentence: str


def parse_gates(asked: Mapping[str, Any]) -> tuple[Gate, ...]:
    """Gates from plain data: name → number, or {at_least | at_most: number, bound: value | low | high}.

    Raises:
        ConfigError: a name or a threshold is no gate's.
    """
    return tuple(_parse_gate(name, wanted) for name, wanted in asked.items())


def check(gates: Sequence[Gate], figures: Mapping[str, Interval]) -> list[Verdict]:
    """Each gate's verdict. A figure that is NaN passes none.

    Raises:
        ConfigError: a gate asks for a figure that was not measured.
    """
    return [_judge(gate, figures) for gate in gates]


def _judge(gate: Gate, figures: Mapping[str, Interval]) -> Verdict:
    if gate.figure not in figures:
        raise ConfigError(
            f"the figure {gate.figure!r} is not measured",
            where=f"gates.{gate.name}",
            remedy=f"measured are: {', '.join(sorted(figures))}",
        )
    interval = figures[gate.figure]
    found: float = getattr(interval, gate.bound)
    beyond = found >= gate.threshold if gate.at_least else found <= gate.threshold
    passed = beyond or math.isclose(found, gate.threshold, rel_tol=1e-9)  # rounding decides nothing
    of_teacher = " of the teacher's" if gate.kind in ("keep", "ratio") else ""
    asked = f"{'' if gate.at_least else 'at most '}{gate.threshold:.9g} asked"
    sentence = f"{gate.name}: {_written(found, gate.threshold)}{of_teacher}{_ENDS[gate.bound]}, {asked}"
    return Verdict(gate, passed, interval, sentence)


def _written(found: float, threshold: float) -> str:
    """`found` with three digits, or as many as it takes not to look like the threshold."""
    rounded = (float(f"{found:.{digits}g}") for digits in (3, 4, 5, 6, 9))
    return f"{next((value for value in rounded if value != threshold), threshold):.9g}"


def _parse_gate(name: str, wanted: Any) -> Gate:
    where = f"gates.{name}"
    prefix, _, rest = name.partition("_")
    kinds: dict[str, Kind] = {"keep": "keep", "min": "min", "max": "ratio" if rest.endswith("_ratio") else "max"}
    if prefix not in kinds or not rest:
        raise ConfigError(
            "no gate has this name",
            where=where,
            remedy="write keep_X, min_X, max_X or max_X_ratio, X a measured figure",
        )
    word = "at_most" if prefix == "max" else "at_least"
    options = dict(wanted) if isinstance(wanted, Mapping) else {word: wanted}
    threshold, bound = options.pop(word, None), options.pop("bound", "value")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise ConfigError(
            f"found {wanted!r}, expected a number", where=where, remedy=f"write a number or {{{word}: …}}"
        )
    if bound not in get_args(Bound) or options:
        raise ConfigError(
            f"found {wanted!r}, expected {word} and bound", where=where, remedy="bound is one of value, low, high"
        )
    return Gate(name, f"{rest}_kept" if prefix == "keep" else rest, kinds[prefix], float(threshold), bound)
