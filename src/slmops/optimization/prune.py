"""Makes a smaller model by keeping chosen layers of a bigger one. Learns nothing, measures nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmops.core.errors import ModelError, need
from slmops.models.forward import decoder_layers

if TYPE_CHECKING:
    from torch import nn


def spread_layers(count: int, keep: int) -> list[int]:
    """`keep` of `count` layers, the first and the last among them, evenly spread (docs/decisions/0003).

    Raises:
        ModelError: `keep` is not between 1 and `count`.
    """
    _check(count, keep)
    if keep == 1:
        return [0]
    return [round(index * (count - 1) / (keep - 1)) for index in range(keep)]


def lower_layers(count: int, keep: int) -> list[int]:
    """The first `keep` − 1 of `count` layers and the last one: low ones find their input as they know it, the last one
    writes what the output head reads (measured against spread ones: docs/decisions/0007).

    Raises:
        ModelError: `keep` is not between 1 and `count`.
    """
    _check(count, keep)
    return [*range(keep - 1), count - 1]


def keep_layers(model: nn.Module, layers: list[int]) -> nn.Module:
    """The model with only `layers`, in place, in their order."""
    torch = need("torch", "train")
    kept = [decoder_layers(model)[index] for index in layers]
    getattr(model, model.base_model_prefix).layers = torch.nn.ModuleList(kept)
    for index, layer in enumerate(kept):
        layer.self_attn.layer_idx = index  # where the layer finds its keys and values in the cache
    config = model.config
    config.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[index] for index in layers]
    return model


def _check(count: int, keep: int) -> None:
    if not 1 <= keep <= count:
        raise ModelError(f"{keep} layers cannot be kept of {count}", remedy=f"choose 1…{count}")
