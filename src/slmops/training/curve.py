"""The training curve: the loss as it fell, on validation rows too, and the rows that made it leap."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slmops.core.files import write_whole


@dataclass(frozen=True)
class Point:
    """Mean loss a target token since the point before; on validation rows, and on some of those that are learned, where
    they were looked at: at step 0, before anything was learned, there is nothing else. `rows` are those of this step
    that were worst, where its loss leapt. `twice_as_far`, of the last point alone, is the loss of rows that are learned
    had the weights gone on as far again. `gradients` are the norms of those of a loss's terms, where it has several.
    `rounded`: the model computed as the shipped format has it. `metric` is the task's first figure on validation rows,
    the higher the better, where a training is judged by it."""

    step: int
    loss: float
    validation_loss: float | None = None
    rows: tuple[str, ...] = ()
    seen_loss: float | None = None
    twice_as_far: float | None = None
    gradients: Mapping[str, float] = field(default_factory=dict)
    rounded: bool = False
    metric: float | None = None


@dataclass(frozen=True)
class Moment:
    """A point as it is reached, for whoever listens: with how it was reached, of which no time may stand in a curve.
    `gradient_norm` is that of the step, before clipping; `examples` were learned in `seconds` since the moment
    before, looks at validation rows not counted."""

    point: Point
    learning_rate: float
    gradient_norm: float
    examples: int
    seconds: float


def held_out_losses(curve: Iterable[Point], first_step: int = 1) -> list[float]:
    """Those of validation rows, as they were looked at from `first_step` on."""
    return [point.validation_loss for point in _looks(curve, first_step) if point.validation_loss is not None]


def kept_loss(curve: Sequence[Point], keeps_best: bool) -> float | None:
    """The loss on validation rows of the weights that a training keeps: the last, or the best; once they are
    rounded, of rounded ones. None while there was no look."""
    looks = _looks(point for point in curve if point.rounded) or _looks(curve)
    return (max(looks, key=_worth) if keeps_best else looks[-1]).validation_loss if looks else None


def looks_since_best(curve: Sequence[Point], first_step: int) -> int | None:
    """How many looks at validation rows, from `first_step` on, came after the best; 0 if that is the last."""
    looks = _looks(curve, first_step)
    return len(looks) - 1 - looks.index(max(looks, key=_worth)) if looks else None


def _looks(curve: Iterable[Point], first_step: int = 1) -> list[Point]:
    """Where validation rows were looked at, from `first_step` on, but not before anything was learned."""
    after = max(1, first_step)
    return [point for point in curve if point.validation_loss is not None and point.step >= after]


def _worth(look: Point) -> tuple[float, float]:
    """The higher, the better: by the task's figure, if there is one; where that is the same, by the loss."""
    return look.metric or 0.0, -(look.validation_loss or 0.0)


def read_curve(path: Path) -> Iterator[Point]:
    """The curve that `write_curve` wrote."""
    return (to_point(json.loads(line)) for line in path.read_text("utf-8").splitlines())


def write_curve(path: Path, curve: Iterable[Point]) -> None:
    write_whole(path, "".join(json.dumps(asdict(point)) + "\n" for point in curve))


def to_point(fields: dict[str, Any]) -> Point:
    return Point(**fields | {"rows": tuple(fields["rows"])})
