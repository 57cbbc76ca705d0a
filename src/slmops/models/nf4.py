"""Linear layers whose weights stay as they are, in four bits: a base for adapters to learn on (QLoRA).

In comes a linear layer, out goes one that computes nearly the same from an eighth of the bytes: its weight is laid out
for each product, forward and backward, and forgotten. Works in any number format; knows no adapter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 64  # weights that share a scale
# What four bits stand for: quantiles of a normal distribution, 0 among them (Dettmers et al. 2023, arXiv 2305.14314,
# section 3 and appendix E).
_LEVELS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334),
    *(-0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


class NF4Linear(nn.Linear):
    """A linear layer with a weight of 4-bit NormalFloat, which cannot learn."""

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = layer.weight.shape
        self.register_parameter("bias", layer.bias)
        packed, scales = _packed(layer.weight.detach())
        self.register_buffer("packed", packed)
        self.register_buffer("scales", scales)

    @property
    def weight(self) -> Tensor:
        """The weight as it is computed with, laid out anew."""
        return self.laid_out(torch.float32)

    def laid_out(self, dtype: torch.dtype) -> Tensor:
        pairs = _pairs(dtype)[self.packed.long()].view(-1, _BLOCK)
        flat = pairs.mul_(self.scales.to(dtype)[:, None]).view(-1)
        return flat[: self.out_features * self.in_features].view(self.out_features, self.in_features)

    def forward(self, states: Tensor) -> Tensor:
        found: Tensor = _Product.apply(states, self)
        return found if self.bias is None else found + self.bias

    def to_linear(self) -> nn.Linear:
        """An ordinary layer that computes the same."""
        layer = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        layer.weight = nn.Parameter(self.weight, requires_grad=False)
        layer.bias = self.bias
        return layer


class _Product(torch.autograd.Function):
    """states · weightᵀ, whose gradient needs the weight but keeps none of it."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, layer: NF4Linear) -> Tensor:
        ctx.layer = layer
        return functional.linear(states, layer.laid_out(states.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.laid_out(gradient.dtype), None


def to_nf4(model: nn.Module) -> None:
    """Puts an NF4Linear in the place of every linear layer below `model`, one after another, so that memory shrinks."""
    for name, part in list(model.named_modules()):
        if type(part) is nn.Linear:
            _replace(model, name, NF4Linear(part))


def from_nf4(model: nn.Module) -> None:
    """Puts ordinary layers back."""
    for name, part in list(model.named_modules()):
        if isinstance(part, NF4Linear):
            _replace(model, name, part.to_linear())


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def _packed(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Two codes a byte, and the largest absolute value of each block, over the flat weight."""
    flat = functional.pad(weight.float().flatten(), (0, -weight.numel() % _BLOCK)).view(-1, _BLOCK)
    scales = flat.abs().amax(1)
    levels = torch.tensor(_LEVELS)
    between = (levels[1:] + levels[:-1]) / 2
    codes = torch.bucketize(flat / scales.clamp(min=1e-12)[:, None], between, out_int32=True)
    high, low = codes.view(-1, 2).to(torch.uint8).unbind(1)
    return high * 16 + low, scales


def _pairs(dtype: torch.dtype) -> Tensor:
    """(256, 2): what each byte stands for."""
    levels = torch.tensor(_LEVELS, dtype=dtype)
    return torch.stack([levels.repeat_interleave(16), levels.repeat(16)], 1)
