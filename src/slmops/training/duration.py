"""How long a training will take, before it runs: operations ÷ the speed that was probed, and what moves in memory.

In come the model's shape, how it learns, what it learns from, and the speed of matrix products on this machine. Held
against measurements by benchmarks/finetuning.py, which is where the constants are from.
"""

from __future__ import annotations

from dataclasses import dataclass

from slmops.models.forward import NumberFormat
from slmops.training.config import TrainConfig
from slmops.training.estimate import Lessons, Shape, computed_logits, kept_a_token, learned_a_layer, learning_layers
from slmops.training.schedule import steps_of

_REACHED = 0.75  # of the probed speed, by the products of a step
_BYTES_A_SECOND = 4e9  # what moves between memory and processor while nothing is multiplied
_OF_OPTIMIZER = 28  # bytes moved for a weight that learns: it, its gradient and two moments


@dataclass(frozen=True)
class Amount:
    """What a training comes to: operations of its products, bytes that move beside them."""

    operations: float
    moved: float

    def seconds(self, gflops: float) -> float:
        return self.operations / (_REACHED * gflops * 1e9) + self.moved / _BYTES_A_SECOND


def training_amount(shape: Shape, config: TrainConfig, lessons: Lessons, number_format: NumberFormat) -> Amount:
    """That of all steps of one training, without looks at validation rows."""
    size, learning = 2 if number_format == "bfloat16" else 4, learning_layers(shape, config)
    forward = 2 if config.gradient_checkpointing else 1
    steps = steps_of(lessons.rows, config)
    learned = learned_a_layer(shape, config)
    layer = shape.layer * (forward + 1) + learned * (1 if config.method == "full" else forward + 2)
    attention = shape.width * lessons.row * (forward + 2)
    head = 2 * shape.width * computed_logits(shape, config, lessons)
    products = 2 * (lessons.step_tokens * learning * (layer + attention) + lessons.step_targets * head)
    kept = kept_a_token(shape, config.model_copy(update={"gradient_checkpointing": False}), learning, lessons)
    moved = size * lessons.step_tokens * kept * forward + _OF_OPTIMIZER * learning * learned
    once = 2 * lessons.tokens * (shape.layers - learning) * shape.layer
    return Amount(once + steps * products, steps * moved)
