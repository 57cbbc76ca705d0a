"""What a training comes to is counted as torch itself counts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from slmops.models.folder import read_json
from slmops.models.forward import load_causal_lm
from slmops.training.config import TrainConfig
from slmops.training.duration import training_amount
from slmops.training.estimate import Lessons, Shape
from slmops.training.losses import cross_entropy
from slmops.training.methods import prepare
from slmops.training.trainer import train
from tests.training.rows import rows

OPTIONS = [
    {"method": "full", "upper_layers": 1.0},
    {"method": "full", "upper_layers": 0.5},
    {"method": "lora", "rank": 4, "upper_layers": 1.0},
    {"method": "full", "upper_layers": 1.0, "gradient_checkpointing": True},
]


class Counted(TorchDispatchMode):
    """Adds up the operations of products, forward and backward."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.operations += count(*args, **(kwargs or {}), out_val=out)
        return out


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_operations_are_those_that_torch_counts(options: dict[str, object], tiny_model: Path, tmp_path: Path) -> None:
    shape, examples = Shape.of(read_json(tiny_model / "config.json")), rows(20)

    def both(epochs: int) -> tuple[float, float]:
        config = TrainConfig.model_validate({**options, "epochs": epochs, "batch_size": 10, "vocabulary_sample": 0})
        with Counted() as counted:
            train(
                prepare(load_causal_lm(tiny_model), config, 0),
                examples,
                config,
                cross_entropy,
                seed=0,
                number_format="float32",
                scratch=tmp_path / str(epochs),
            )
        amount = training_amount(shape, config, Lessons.of(examples, config, closed=False))
        return counted.operations, amount.operations

    (once, once_estimated), (twice, twice_estimated) = both(1), both(2)
    assert twice_estimated - once_estimated == pytest.approx(twice - once, rel=0.2)  # what is done once cancels out
