"""How long a training will take, before it runs: operations ÷ the speed that was probed, and what else a step does.

In come the model's shape, how it learns, what it learns from, and the speed of matrix products on this machine. Held
against measurements by benchmarks/finetuning.py; the constants were fitted to its eight configurations: in fp32 on two
Zen 3 cores, in bf16 on two Zen 5 cores, there with looks among the steps, so that learning alone takes less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slmops.models.forward import NumberFormat
from slmops.training.config import TrainConfig
from slmops.training.estimate import Lessons, Shape, computed_logits, learned_a_layer, learning_layers
from slmops.training.schedule import steps_of

# Of the probed speed, by a step's products and all that is done between them.
_REACHED: Mapping[NumberFormat, float] = {"float32": 0.72, "bfloat16": 0.41}
# For each layer of each sequence, however short, forward and backward.
_A_LAYER_S: Mapping[NumberFormat, float] = {"float32": 0.0156, "bfloat16": 0.0106}
_LAID_OUT_A_SECOND = 2.45e8  # weights that lie in four bits


@dataclass(frozen=True)
class Amount:
    """What a training comes to: operations of its products, layers that are passed by a sequence and back, weights
    that are laid out from four bits."""

    operations: float
    layers: float
    laid_out: float

    def seconds(self, gflops: float, number_format: NumberFormat) -> float:
        """At the probed speed of products in that format."""
        products = self.operations / (_REACHED[number_format] * gflops * 1e9)
        return products + self.layers * _A_LAYER_S[number_format] + self.laid_out / _LAID_OUT_A_SECOND


def training_amount(shape: Shape, config: TrainConfig, lessons: Lessons) -> Amount:
    """That of all steps of one training, without looks at validation rows."""
    learning, learned = learning_layers(shape, config), learned_a_layer(shape, config)
    forward = 2 if config.gradient_checkpointing else 1
    steps = steps_of(lessons.rows, config)
    layer = shape.layer * (forward + 1) + learned * (1 if config.method == "full" else forward + 2)
    attention = shape.width * lessons.row * (forward + 2)
    head = (3 if config.embeddings else 2) * shape.width * computed_logits(shape, config, lessons)
    products = 2 * (lessons.step_tokens * learning * (layer + attention) + lessons.step_targets * head)
    once = 2 * lessons.tokens * (shape.layers - learning) * shape.layer
    passed = lessons.step_sequences * learning
    laid_out = passed * (forward + 1) * shape.layer if config.method == "qlora" else 0.0
    return Amount(
        operations=once + steps * products,
        layers=steps * passed * forward,
        laid_out=steps * laid_out,
    )
