"""What workers share that train one model: the rows of a step, their gradients, and what the first of them finds.

Every worker is a process with the whole model. It computes the gradient of its part of a step's rows; all get the sum,
so that all take the same step and hold the same weights. Whoever runs the training has joined them before
(`torch.distributed`); where nobody did, one is alone and sends nothing. Knows no loss, no optimizer, no cluster.
"""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from slmops.core.errors import SlmopsError, need

if TYPE_CHECKING:
    from torch import nn

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Workers:
    """How many there are, and which one this process is."""

    rank: int = 0
    count: int = 1

    @classmethod
    def joined(cls) -> Workers:
        if "torch" not in sys.modules:  # then nobody has joined anyone
            return cls()
        distributed = need("torch", "train").distributed
        if not distributed.is_available() or not distributed.is_initialized():
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this one writes, tells and decides."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This worker's part; of rows sorted by length, every part has about as much to compute."""
        return items[self.rank :: self.count]

    def own(self, folder: Path) -> Path:
        """Where this worker alone writes what all would write to `folder`."""
        return folder if self.first else folder / f"worker-{self.rank}"

    def add_up(
        self, weights: Sequence[nn.Parameter], loss: float, of_rows: Mapping[str, float], rows: Sequence[str]
    ) -> tuple[float, Mapping[str, float]]:
        """Gives `weights` the sum of all workers' gradients; returns the sum of their losses, and the loss of every one
        of the step's `rows`. All of it is one message."""
        if self.count == 1:
            return loss, of_rows
        import torch

        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        losses = torch.tensor([loss, *(of_rows.get(row, 0.0) for row in rows)])
        message = torch.cat([*(gradient.flatten() for gradient in gradients), losses])
        torch.distributed.all_reduce(message)
        *summed, losses = message.split([*(weight.numel() for weight in weights), len(losses)])
        for weight, gradient in zip(weights, summed, strict=True):
            weight.grad = gradient.view_as(weight)
        total, *by_row = losses.tolist()
        return total, dict(zip(rows, by_row, strict=True))

    def agree(self, find: Callable[[], Found]) -> Found:
        """What the first worker finds, told to all: they go by it even where machines round differently."""
        if self.count == 1:
            return find()
        box = [find() if self.first else None]
        need("torch", "train").distributed.broadcast_object_list(box)
        return box[0]  # type: ignore[return-value]

    def least_room(self, free: float, held: float) -> float:
        """Bytes of memory that each worker may have: its share of what is `free` on its machine, and what it has `held`
        before; those of the worker with the least, so that all go by the same."""
        told = [(socket.gethostname(), free, held)] * self.count
        if self.count > 1:
            need("torch", "train").distributed.all_gather_object(told, told[self.rank])
        workers_of = Counter(machine for machine, _, _ in told)
        return min(free / workers_of[machine] + held for machine, free, held in told)

    def check_alike(self, step: int) -> None:
        """That all go on from the same step.

        Raises:
            SlmopsError: they found different checkpoints, or some of them none.
        """
        if self.count == 1:
            return
        steps = [0] * self.count
        need("torch", "train").distributed.all_gather_object(steps, step)
        if len(set(steps)) > 1:
            raise SlmopsError(
                f"the workers found checkpoints of different steps: {steps}",
                where="training",
                remedy="put the project into a folder that all machines share",
            )
