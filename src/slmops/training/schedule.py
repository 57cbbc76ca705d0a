"""How fast each weight learns: the learning rate over the steps, and the optimizer's groups. Trains nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from slmops.core.errors import need
from slmops.training.config import TrainConfig

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """AdamW over what learns. Only matrices decay; adapters' B learn faster than A by `loraplus_lr_ratio`, since a wide
    model's A otherwise holds B back (LoRA+: Hayou et al. 2024, arXiv 2402.12354)."""
    torch = need("torch", "train")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            times = config.loraplus_lr_ratio if ".lora_B." in name else 1.0
            groups.setdefault((times, config.weight_decay if weight.ndim > 1 else 0.0), []).append(weight)
    named = [{"params": weights, "times": times, "weight_decay": decay} for (times, decay), weights in groups.items()]
    betas = config.beta1, config.beta2
    optimizer: Optimizer = torch.optim.AdamW(named, lr=config.learning_rate, betas=betas, fused=True)
    return optimizer


def steps_of(rows: int, config: TrainConfig) -> int:
    """How many steps a training on so many rows has."""
    return max(1, round(math.ceil(rows / config.batch_size) * config.epochs))


def first_rounded_step(steps: int, config: TrainConfig, rounded: bool) -> int:
    """The step from which on it computes as the shipped format has it; 0 where it never does."""
    return round(steps * (1 - config.quantization_aware)) if rounded else 0


def set_learning_rate(optimizer: Optimizer, step: int, steps: int, config: TrainConfig) -> float:
    """Sets that of each group at `step`; returns what they are multiples of."""
    share = learning_rate_share(step, steps, config)
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * group["times"] * share
    return config.learning_rate * share


def learning_rate_share(step: int, steps: int, config: TrainConfig) -> float:
    """The share of the learning rate at `step`, counted from 0: linear warm-up, then as configured. `wsd` (warm-up,
    stable, decay) is that of Hu et al. 2024, arXiv 2404.06395, section 4, with a linear end."""
    warmup = config.warmup * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1.0, steps - warmup)
    match config.schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1 - done
        case "wsd":
            return min(1.0, (steps - step) / max(1.0, config.decay * steps))
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
