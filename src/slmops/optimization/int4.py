"""What plain int4 does to a weight, in torch: so that a student can learn under it. Converts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def round_to_int4(weight: Tensor, block_size: int) -> Tensor:
    """The (out, in) `weight` as ONNX Runtime holds it in symmetric int4: in every block of a row, multiples −8 … 7 of a
    scale such that the value furthest from zero is −8 of it. A matrix whose rows are no whole number of blocks, which
    the converter pads, is returned as it is."""
    import torch

    if weight.shape[-1] % block_size:
        return weight
    blocks = weight.reshape(-1, block_size)
    low, high = blocks.amin(1, keepdim=True), blocks.amax(1, keepdim=True)
    scale = torch.where(high > -low, high, low) / -8
    scale = torch.where(scale == 0, 1, scale)
    codes = (blocks / scale).add_(8.5).floor_().clamp_(0, 15)  # as it rounds: halves up, on codes from 0
    return codes.sub_(8).mul_(scale).view_as(weight)
