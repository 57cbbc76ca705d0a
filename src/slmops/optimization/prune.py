"""Makes a smaller model by keeping chosen layers of a bigger one. Learns nothing; what others measured comes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slmops.core.errors import ModelError, need
from slmops.models.forward import can_begin_between_layers, decoder_layers, put_layers

if TYPE_CHECKING:
    from torch import nn

_OF_LAYERS = ("layer_types", "no_rope_layers")  # what a config says of each layer; the latter SmolLM3's


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


def dissimilar_layers(count: int, keep: int, angle: Callable[[int, int], float]) -> list[int]:
    """All but those `count` − `keep` neighbours that together change least: `angle(start, end)` tells how far what
    comes out below `end` is turned from what went into `start` (Gromov et al. 2024, arXiv 2403.17887, section 3.2).

    Raises:
        ModelError: `keep` is not between 1 and `count`.
    """
    _check(count, keep)
    gone = count - keep
    start = min(range(keep + 1), key=lambda start: angle(start, start + gone))
    return [*range(start), *range(start + gone, count)]


def least_missed_layers(count: int, keep: int, loss: Callable[[Sequence[int]], float]) -> list[int]:
    """Those without which, one at a time, the `loss` of the others would be largest (leave one out).

    Raises:
        ModelError: `keep` is not between 1 and `count`.
    """
    _check(count, keep)
    without = {layer: loss([other for other in range(count) if other != layer]) for layer in range(count)}
    return sorted(sorted(range(count), key=lambda layer: -without[layer])[:keep])


def greedily_kept_layers(count: int, keep: int, loss: Callable[[Sequence[int]], float]) -> list[int]:
    """What stays when the layer that is missed least is taken out, again and again.

    Raises:
        ModelError: `keep` is not between 1 and `count`.
    """
    _check(count, keep)
    kept = list(range(count))
    while len(kept) > keep:
        gone = min(kept, key=lambda layer: loss([other for other in kept if other != layer]))
        kept.remove(gone)
    return kept


def keep_layers(model: nn.Module, layers: Sequence[int]) -> nn.Module:
    """The model with only `layers`, in place, in their order."""
    _take_layers(model, layers)
    for index, layer in enumerate(decoder_layers(model)):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = index  # where the layer finds its keys and values in the cache
    model.config.num_hidden_layers = len(layers)
    return model


@contextmanager
def with_layers(model: nn.Module, layers: Sequence[int]) -> Iterator[nn.Module]:
    """The model with only `layers`, for a while."""
    whole = decoder_layers(model)
    told = {name: getattr(model.config, name) for name in _OF_LAYERS if getattr(model.config, name, None)}
    _take_layers(model, layers)
    try:
        yield model
    finally:
        put_layers(model, whole)
        for name, of_layers in told.items():
            setattr(model.config, name, of_layers)


def _take_layers(model: nn.Module, layers: Sequence[int]) -> None:
    torch, config = need("torch", "train"), model.config
    by_number = getattr(config, "scale_attn_by_inverse_layer_idx", False)
    if by_number or not (can_begin_between_layers(model) or config.model_type == "gpt2"):
        raise ModelError("its layers cannot be cut", remedy="remove student.layers; cut its vocabulary only")
    put_layers(model, torch.nn.ModuleList(decoder_layers(model)[index] for index in layers))
    tell_of_layers(config, layers)


def tell_of_layers(config: Any, layers: Sequence[int]) -> None:
    """Makes a config say of each layer what it said of that of `layers`."""
    for name in _OF_LAYERS:
        if told := getattr(config, name, None):
            setattr(config, name, [told[index] for index in layers])


def _check(count: int, keep: int) -> None:
    if not 1 <= keep <= count:
        raise ModelError(f"{keep} layers cannot be kept of {count}", remedy=f"choose 1…{count}")
