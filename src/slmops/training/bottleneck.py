"""More hidden units beside those of an MLP: they learn while the others stay, and are merged into one wider MLP.

In come a model and a number; its layers' MLPs say the same at first. A wider MLP is what the parallel adapter of He et
al. 2022 (arXiv 2110.04366) is if it has the MLP's own form, down(act(gate(x)) · up(x)): a serial one (Houlsby et al.
2019) is no part of any plain model. Knows no training.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from slmops.core.errors import ModelError
from slmops.models.forward import decoder_layers

Matrix: TypeAlias = nn.Linear | Conv1D  # the latter is GPT-2's: a linear layer whose weight lies transposed


class Bottleneck(nn.Module):
    """An MLP, and learning units beside it."""

    def __init__(self, mlp: nn.Module, count: int) -> None:
        super().__init__()
        self.mlp, self.units = mlp, _narrow(mlp, count)

    def forward(self, states: Tensor) -> Tensor:
        found: Tensor = self.mlp(states) + self.units(states)
        return found


def add_units(layers: Iterable[nn.Module], count: int) -> None:
    """Puts `count` units beside the MLP of each layer.

    Raises:
        ModelError: an MLP is not built as those that can be made wider.
    """
    for layer in layers:
        wider = Bottleneck(_known_mlp(layer), count)
        _check_sums(wider)
        nn.init.zeros_(_matrices(wider.units)[-1][1].weight)
        layer.mlp = wider


def merge_units(model: nn.Module) -> None:
    """Makes every MLP wider by the units beside it; by units of zeros where there are none, since all layers of a plain
    model are of one size. A model without any stays as it is."""
    found = next((part for part in model.modules() if isinstance(part, Bottleneck)), None)
    if not found:
        return
    _, count = _size(found.units)
    _, inner = _size(found.mlp)
    for layer in decoder_layers(model):
        layer.mlp = _wide(layer.mlp if isinstance(layer.mlp, Bottleneck) else _silent(layer.mlp, count))
    key = "intermediate_size" if hasattr(model.config, "intermediate_size") else "n_inner"
    setattr(model.config, key, inner + count)


def _known_mlp(layer: nn.Module) -> nn.Module:
    """The layer's MLP, if all its weights are matrices that read the width, and a last one that writes it."""
    mlp = getattr(layer, "mlp", None)
    found = [part for _, part in _matrices(mlp)] if mlp else []
    weights = {id(weight) for part in found for weight in part.parameters()}
    if mlp and len(found) > 1 and all(id(weight) in weights for weight in mlp.parameters()):
        width, inner = _size(mlp)
        written = {_reads_writes(part) for part in found[:-1]}
        if written <= {(width, inner), (width, 2 * inner)} and _reads_writes(found[-1]) == (inner, width):
            return mlp
    of = f"the MLP {type(mlp).__name__}" if mlp else f"the layer {type(layer).__name__}"
    raise ModelError(f"{of} is not of a form that units can stand beside", remedy="write method: lora")


def _check_sums(wider: Bottleneck) -> None:
    """That the wider MLP is the sum of both: one that halves what it writes in another way is not."""
    states = torch.randn(1, 1, _size(wider.mlp)[0])
    with torch.no_grad():
        apart, together = wider(states), _wide(wider)(states)
    if (apart - together).abs().max() > 1e-3 * apart.abs().max():
        raise ModelError(f"the MLP {type(wider.mlp).__name__} cannot be made wider", remedy="write method: lora")


def _matrices(mlp: nn.Module) -> list[tuple[str, Matrix]]:
    return [(name, part) for name, part in mlp.named_children() if isinstance(part, Matrix)]


def _size(mlp: nn.Module) -> tuple[int, int]:
    """(width, number of hidden units): what the last matrix writes and reads."""
    inner, width = _reads_writes(_matrices(mlp)[-1][1])
    return width, inner


def _reads_writes(part: Matrix) -> tuple[int, int]:
    reads, writes = part.weight.shape if isinstance(part, Conv1D) else part.weight.T.shape
    return reads, writes


def _narrow(mlp: nn.Module, count: int) -> nn.Module:
    """An MLP of the same class with `count` fresh units. What the last matrix adds to every token is not theirs."""
    width, inner = _size(mlp)
    *into, (last, down) = _matrices(mlp)
    parts = {name: _part(part, width, _reads_writes(part)[1] // inner * count) for name, part in into}
    return _with(mlp, parts | {last: _part(down, count, width, adds=False)})


def _silent(mlp: nn.Module, count: int) -> Bottleneck:
    wider = Bottleneck(mlp, count)
    for weight in wider.units.parameters():
        nn.init.zeros_(weight)
    return wider


def _wide(wider: Bottleneck) -> nn.Module:
    """One MLP of the units of both."""
    width, inner = _size(wider.mlp)
    _, count = _size(wider.units)
    *into, (last, down) = _matrices(wider.mlp)
    parts = {}
    for name, own in into:
        more, halves = wider.units.get_submodule(name), _reads_writes(own)[1] // inner
        parts[name] = _part(own, width, halves * (inner + count), device="meta")
        parts[name].weight = _joined(own.weight, more.weight, int(isinstance(own, Conv1D)), halves)
        parts[name].bias = None if own.bias is None else _joined(own.bias, more.bias, 0, halves)
    more = wider.units.get_submodule(last)
    parts[last] = _part(down, inner + count, width, device="meta")
    parts[last].weight = _joined(down.weight, more.weight, int(isinstance(down, nn.Linear)))
    parts[last].bias = down.bias
    return _with(wider.mlp, parts)


def _joined(own: Tensor, more: Tensor, axis: int, halves: int = 1) -> nn.Parameter:
    """Both behind one another along `axis`; of gates and what they gate in one matrix, each half behind its own."""
    apart = [part.detach().unflatten(axis, (halves, -1)) for part in (own, more)]
    return nn.Parameter(torch.cat(apart, axis + 1).flatten(axis, axis + 1), requires_grad=False)


def _part(like: Matrix, reads: int, writes: int, *, adds: bool = True, device: str = "cpu") -> Matrix:
    with torch.device(device):
        if isinstance(like, nn.Linear):
            return nn.Linear(reads, writes, bias=adds and like.bias is not None)
        part = Conv1D(writes, reads)
    part.bias.requires_grad_(adds)
    return part


def _with(mlp: nn.Module, parts: dict[str, Matrix]) -> nn.Module:
    """The MLP with other parts; all else is shared."""
    other = copy.copy(mlp)
    other._modules = mlp._modules | parts
    return other
