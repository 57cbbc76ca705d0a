"""Which rows made a loss leap, or no number at all. Knows no model and no text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmops.core.errors import SlmopsError

if TYPE_CHECKING:
    from torch import Tensor

_STEADY, _STEPS = 0.95, 20  # of the running mean; how many steps it takes to know what is usual
_DEVIATIONS, _TIMES = 6.0, 2.0


class BrokenLossError(SlmopsError):
    """The loss or its gradient is no number; the model holds what it had learned by `step`, the last good one."""

    def __init__(self, what: str, step: int) -> None:
        super().__init__(what, where="training", remedy="lower learning_rate, or look at these rows")
        self.step = step


@dataclass
class Usual:
    """What the loss of a step usually is: a running mean and variance."""

    steps: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def is_leap(self, loss: float) -> bool:
        """Whether `loss` is far above what is usual; if not, it becomes a part of that."""
        far = self.mean + _DEVIATIONS * math.sqrt(self.variance)
        if self.steps >= _STEPS and loss > max(far, _TIMES * self.mean):
            return True
        weight = max(1 - _STEADY, 1 / (self.steps + 1))
        off = loss - self.mean
        self.steps += 1
        self.mean += weight * off
        self.variance = (1 - weight) * (self.variance + weight * off * off)
        return False


def row_losses(names: tuple[str, ...], target_row: Tensor, losses: Tensor) -> dict[str, float]:
    """Mean loss a target token of each row; `losses` and `target_row` are (target,), the latter an index of names."""
    sums, counts = losses.new_zeros(len(names)), losses.new_zeros(len(names))
    sums.index_add_(0, target_row, losses)
    counts.index_add_(0, target_row, losses.new_ones(len(losses)))
    return dict(zip(names, (sums / counts).tolist(), strict=True))


def worst_rows(losses: Mapping[str, float], most: int = 3) -> tuple[str, ...]:
    """The rows whose loss is no number, if there are any; else those with the highest."""
    broken = [row for row, loss in losses.items() if not math.isfinite(loss)]
    return tuple((broken or sorted(losses, key=lambda row: -losses[row]))[:most])
