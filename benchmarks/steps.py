"""A step of slmops' own training loop, timed. Knows no data set."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from slmops.models.forward import NumberFormat
from slmops.models.packing import Example
from slmops.training.config import TrainConfig
from slmops.training.losses import cross_entropy
from slmops.training.replication import FREE, Begins
from slmops.training.trainer import train


def last_step_seconds(
    model: nn.Module,
    examples: Sequence[Example],
    config: TrainConfig,
    number_format: NumberFormat,
    seed: int,
    begins: Begins = FREE,
) -> float:
    """Trains on all `examples`; what the last step took, after those that warm up."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        train(
            model,
            examples,
            config,
            cross_entropy,
            begins=begins,
            seed=seed,
            number_format=number_format,
            scratch=Path(scratch),
            report=lambda share, text: ends.append(time.perf_counter()),
        )
    return ends[-1] - ends[-2]
