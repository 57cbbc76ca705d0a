"""The one training loop: packed batches, AdamW, a schedule, checkpoints from which it goes on exactly.

In come a model with some trainable parameters, examples and a loss; the model is trained in place. Knows no task, no
teacher, no store; what is trainable was decided before.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slmops.core.errors import SlmopsError, need
from slmops.core.files import write_whole
from slmops.core.machine import keep_freed_memory
from slmops.models.forward import NumberFormat, head_logits
from slmops.models.packing import Batch, Example, by_length, pack
from slmops.models.tokenizer import Ids
from slmops.training.computing import Computing, Rounding
from slmops.training.config import TrainConfig
from slmops.training.frozen import Reader
from slmops.training.losses import Taught, TokenLoss
from slmops.training.replication import replicated_loss
from slmops.training.sampled_head import sampled_logits

if TYPE_CHECKING:
    from torch import Tensor, nn

_LOOKS = 3  # how often the validation rows are looked at

Teach = Callable[[Batch], Taught]
Read = Callable[[Batch], "Tensor"]


@dataclass(frozen=True)
class Point:
    """One point of the training curve: mean loss a target token since the point before, and on validation rows."""

    step: int
    loss: float
    validation_loss: float | None = None


@keep_freed_memory()
def train(
    model: nn.Module,
    examples: Sequence[Example],
    config: TrainConfig,
    loss: TokenLoss,
    *,
    teach: Teach | None = None,
    begins: Ids = (),
    rounding: Rounding | None = None,
    validation: Sequence[Example] = (),
    validation_loss: TokenLoss | None = None,
    seed: int,
    number_format: NumberFormat,
    scratch: Path,
    checkpoint_every_s: float = 20.0,
    report: Callable[[float, str], None] = lambda share, text: None,
) -> list[Point]:
    """Trains in place; returns the curve. Started again over the same scratch folder, it goes on where it was.

    `begins` are the tokens that can begin an answer, where they are few: then the target is replicated. `rounding` is
    what the shipped format will do to a weight: it is done during the last steps, so that the model learns to bear it.

    Raises:
        SlmopsError: the loss is not a number; names the step and its rows.
    """
    torch = need("torch", "train")
    computing = Computing(model, number_format, rounding)
    reader = Reader(
        computing.model,
        [*examples, *validation],
        scratch / "frozen",
        lambda share: report(0.0, f"reading with the layers that stay, {share:.0%}"),
    )
    optimizer = torch.optim.AdamW(
        computing.learning, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
    )
    steps_per_epoch = math.ceil(len(examples) / config.batch_size)
    steps = max(1, round(steps_per_epoch * config.epochs))
    checkpoint = _Checkpoint(scratch / "checkpoint", model, optimizer)
    start, curve, running = checkpoint.load()
    unrounded = round(steps * (1 - config.quantization_aware)) if rounding else steps
    computing.give_weights(rounded=start >= unrounded)
    looks = {round(steps * share / _LOOKS) for share in range(1, _LOOKS + 1)}
    saved_at = time.monotonic()
    for step in range(start, steps):
        rows = _rows_of_step(len(examples), config.batch_size, seed, step)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, steps, config)
        value = _step(computing, reader, [examples[row] for row in rows], config, loss, teach, begins, (seed, step))
        if not math.isfinite(value):
            named = ", ".join(examples[row].row for row in rows[:8])
            raise SlmopsError(
                f"the loss is {value} at step {step + 1}; its rows: {named} …",
                where="training",
                remedy="lower learning_rate, or look at these rows",
            )
        torch.nn.utils.clip_grad_norm_(computing.learning, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        computing.give_weights(rounded=step + 1 >= unrounded)
        running = [running[0] + value, running[1] + 1]
        look = (step + 1) in looks
        if look or running[1] == max(1, steps // 40):
            held_out = None
            if look and validation and validation_loss:
                held_out = mean_loss(computing.model, validation, config, validation_loss, reader.last_states)
            curve.append(Point(step + 1, running[0] / running[1], held_out))
            running = [0.0, 0]
        report((step + 1) / steps, f"step {step + 1}/{steps}, loss {value:.3f}")
        if time.monotonic() - saved_at >= checkpoint_every_s:
            checkpoint.save(step + 1, curve, running)
            saved_at = time.monotonic()
    return curve


def mean_loss(model: nn.Module, examples: Sequence[Example], config: TrainConfig, loss: TokenLoss, read: Read) -> float:
    """Mean loss a target token, without learning; `read` returns the flat last hidden states of a batch."""
    import torch

    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in pack(by_length(examples), config.max_tokens):
            logits = head_logits(model, read(batch)[batch.target_at])
            total += float(loss(logits, batch.target_ids, None).sum())
            count += len(batch.target_ids)
    return total / max(1, count)


def _step(
    computing: Computing,
    reader: Reader,
    examples: Sequence[Example],
    config: TrainConfig,
    loss: TokenLoss,
    teach: Teach | None,
    begins: Ids,
    seed: tuple[int, ...],
) -> float:
    """Accumulates the gradient of the mean loss a target token over all examples of the step, in fp32."""
    targets = sum(sum(example.learn) for example in examples)
    model, total = computing.model, 0.0
    model.train()
    for batch in pack(by_length(examples), config.max_tokens):
        states, taught = reader.last_states(batch), teach(batch) if teach else None
        at, ids = states[batch.target_at], batch.target_ids
        if begins and config.vocabulary_sample:
            value = loss(*sampled_logits(model, at, ids, taught, config.vocabulary_sample, seed)).sum()
        else:
            value = loss(head_logits(model, at), ids, taught).sum()
        if begins and config.target_replication:
            value = value + config.target_replication * replicated_loss(model, states, batch, begins, taught)
        value = value / targets
        value.backward()
        computing.take_gradients()
        total += float(value.detach())
    model.eval()
    return total


def _rows_of_step(count: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The rows of a step, from the seed alone: each epoch is a new order of all rows."""
    steps_per_epoch = math.ceil(count / batch_size)
    epoch, within = divmod(step, steps_per_epoch)
    order = np.random.default_rng((seed, epoch)).permutation(count)
    return [int(row) for row in order[within * batch_size : (within + 1) * batch_size]]


def _schedule(step: int, steps: int, config: TrainConfig) -> float:
    """The share of the learning rate at `step`: linear warm-up, then as configured."""
    warmup = config.warmup * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1.0, steps - warmup)
    return 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


class _Checkpoint:
    """Trainable weights, the optimizer's moments and the step, written whole: one file of tensors, one of state that
    names it, so that a kill between the two leaves the former pair valid."""

    def __init__(self, folder: Path, model: nn.Module, optimizer: Any) -> None:
        self._folder, self._optimizer = folder, optimizer
        self._parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}

    def save(self, step: int, curve: list[Point], running: list[float]) -> None:
        import torch
        from safetensors.torch import save_file

        self._folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Any] = {}
        for name, parameter in self._parameters.items():
            state = self._optimizer.state[parameter]
            tensors |= {f"weight/{name}": parameter.detach(), f"first/{name}": state["exp_avg"]}
            tensors |= {f"second/{name}": state["exp_avg_sq"], f"step/{name}": torch.as_tensor(state["step"])}
        file = f"step-{step}.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, self._folder / file)
        state = {"file": file, "step": step, "curve": [asdict(point) for point in curve], "running": running}
        write_whole(self._folder / "state.json", json.dumps(state))
        for old in self._folder.glob("step-*.safetensors"):
            if old.name != file:
                old.unlink()

    def load(self) -> tuple[int, list[Point], list[float]]:
        import torch
        from safetensors.torch import load_file

        state_file = self._folder / "state.json"
        if not state_file.is_file():
            return 0, [], [0.0, 0]
        state = json.loads(state_file.read_text())
        tensors = load_file(self._folder / state["file"])
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(tensors[f"weight/{name}"])
                self._optimizer.state[parameter] = {
                    "step": tensors[f"step/{name}"],
                    "exp_avg": tensors[f"first/{name}"],
                    "exp_avg_sq": tensors[f"second/{name}"],
                }
        return state["step"], [Point(**point) for point in state["curve"]], state["running"]


def read_curve(path: Path) -> Iterator[Point]:
    """The curve that `write_curve` wrote."""
    for line in path.read_text().splitlines():
        yield Point(**json.loads(line))


def write_curve(path: Path, curve: Sequence[Point]) -> None:
    write_whole(path, "".join(json.dumps(asdict(point)) + "\n" for point in curve))
