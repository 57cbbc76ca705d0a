"""Makes a smaller model by keeping chosen layers of a bigger one. Learns nothing, measures nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmops.core.errors import ModelError, need

if TYPE_CHECKING:
    from torch import nn


def spread_layers(count: int, keep: int) -> list[int]:
    """`keep` of `count` layers, the first and the last among them, evenly spread. Spread layers start far better than
    the first ones (measured: loss after 60 steps 0.26 against 0.52, docs/decisions/0003).

    Raises:
        ModelError: `keep` is not between 1 and `count`.
    """
    if not 1 <= keep <= count:
        raise ModelError(f"{keep} layers cannot be kept of {count}", remedy=f"choose 1…{count}")
    if keep == 1:
        return [0]
    return [round(index * (count - 1) / (keep - 1)) for index in range(keep)]


def keep_layers(model: nn.Module, layers: list[int]) -> nn.Module:
    """The model with only `layers`, in place, in their order."""
    torch = need("torch", "train")
    decoder = getattr(model, model.base_model_prefix)
    kept = [decoder.layers[index] for index in layers]
    decoder.layers = torch.nn.ModuleList(kept)
    for index, layer in enumerate(kept):
        layer.self_attn.layer_idx = index  # where the layer finds its keys and values in the cache
    config = model.config
    config.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[index] for index in layers]
    return model
