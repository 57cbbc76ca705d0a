"""Where a training is: everything from which it goes on to the same bits. Knows no data and no loss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmops.core.files import sync, write_whole
from slmops.training.blame import Usual
from slmops.training.curve import Point, to_point

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class State:
    """How far it is. `total` and `count` are losses since the curve's last point. What is random is drawn from the seed
    and the step alone, so that no generator's state belongs to it."""

    step: int = 0
    total: float = 0.0
    count: int = 0
    usual: Usual = field(default_factory=Usual)
    curve: list[Point] = field(default_factory=list)


class Checkpoint:
    """Trainable weights, the optimizer's moments and the state, written whole: one file of tensors, one of state that
    names it, so that a kill between the two leaves the former pair valid. The best weights stand beside them."""

    def __init__(self, folder: Path, model: nn.Module, optimizer: Any) -> None:
        self._folder, self._optimizer = folder, optimizer
        self.learning = {name: value for name, value in model.named_parameters() if value.requires_grad}

    def save(self, state: State) -> None:
        import torch

        tensors: dict[str, Any] = {}
        for name, parameter in self.learning.items():
            tensors[f"weight/{name}"] = parameter.detach()
            if kept := self._optimizer.state.get(parameter):  # else no loss has reached it yet
                tensors |= {f"first/{name}": kept["exp_avg"], f"second/{name}": kept["exp_avg_sq"]}
                tensors[f"step/{name}"] = torch.as_tensor(kept["step"])
        file = f"step-{state.step}.safetensors"
        self._write(file, tensors)
        write_whole(self._folder / "state.json", json.dumps({"file": file, **asdict(state)}))
        for old in self._folder.glob("step-*.safetensors"):
            if old.name != file:
                old.unlink()

    def load(self) -> State:
        """The state, its weights and moments given back; that of the beginning where nothing was saved."""
        import torch

        path = self._folder / "state.json"
        if not path.is_file():
            return State()
        told = json.loads(path.read_text("utf-8"))
        tensors = self._read(told.pop("file"))
        self._give(tensors, "weight/")
        with torch.no_grad():
            for name, parameter in self.learning.items():
                if f"step/{name}" in tensors:
                    self._optimizer.state[parameter] = {
                        "step": tensors[f"step/{name}"],
                        "exp_avg": tensors[f"first/{name}"],
                        "exp_avg_sq": tensors[f"second/{name}"],
                    }
        curve = [to_point(point) for point in told.pop("curve")]
        return State(**told | {"usual": Usual(**told["usual"]), "curve": curve})

    def save_begin(self) -> None:
        """The weights before the first step, which a look along their way starts from."""
        self._write("begin.safetensors", {name: weight.detach() for name, weight in self.learning.items()})

    def begin(self) -> Mapping[str, Tensor]:
        return self._read("begin.safetensors")

    def save_best(self) -> None:
        self._write("best.safetensors", {name: weight.detach() for name, weight in self.learning.items()})

    def load_best(self) -> None:
        """Gives back what was saved as the best, if anything was."""
        if (self._folder / "best.safetensors").is_file():
            self._give(self._read("best.safetensors"), "")

    def _write(self, file: str, tensors: dict[str, Any]) -> None:
        from safetensors.torch import save_file

        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{file}.part"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
        sync(part)  # else a state might name, after a power cut, what never reached the disk
        part.replace(self._folder / file)
        sync(self._folder)

    def _read(self, file: str) -> dict[str, Any]:
        from safetensors.torch import load_file

        return load_file(self._folder / file)

    def _give(self, tensors: dict[str, Any], before: str) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in self.learning.items():
                parameter.copy_(tensors[before + name])
