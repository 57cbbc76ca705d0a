"""The training curve: the loss as it fell, on validation rows too, and the rows that made it leap."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from slmops.core.files import write_whole


@dataclass(frozen=True)
class Point:
    """Mean loss a target token since the point before; on validation rows, where they were looked at. `rows` are those
    of this step that were worst, where its loss leapt."""

    step: int
    loss: float
    validation_loss: float | None = None
    rows: tuple[str, ...] = ()


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


def looks_since_best(curve: Sequence[Point], first_step: int) -> int | None:
    """How many looks at validation rows, from `first_step` on, came after the best; 0 if that is the last."""
    losses = [point.validation_loss for point in curve if point.step >= first_step]
    known = [loss for loss in losses if loss is not None]
    return len(known) - 1 - known.index(min(known)) if known else None


def read_curve(path: Path) -> Iterator[Point]:
    """The curve that `write_curve` wrote."""
    return (to_point(json.loads(line)) for line in path.read_text().splitlines())


def write_curve(path: Path, curve: Iterable[Point]) -> None:
    write_whole(path, "".join(json.dumps(asdict(point)) + "\n" for point in curve))


def to_point(fields: dict[str, object]) -> Point:
    return Point(**fields | {"rows": tuple(fields["rows"])})  # type: ignore[arg-type]
