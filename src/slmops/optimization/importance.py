"""What each part of a model does with some texts: hidden units, groups of heads, channels, layers.

In come a model and packed batches of calibration texts; out go magnitudes, the larger the more a part does. Learns
nothing, changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmops.core.errors import ModelError
from slmops.models.forward import decoder_layers, last_states
from slmops.models.packing import Batch

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Importance:
    """Of each layer, the lowest first, its (unit,) hidden units of the MLP, (group,) heads that share keys and values,
    and each of these (group, query) heads; of all of them the (width,) channels of hidden states. `states` are
    (boundary, position, width): what goes into the first layer, comes out of it, and so on, where something is
    predicted."""

    units: tuple[Tensor, ...]
    groups: tuple[Tensor, ...]
    heads: tuple[Tensor, ...]
    channels: Tensor
    states: Tensor

    def angle(self, start: int, end: int) -> float:
        """How far what `end` layers made is turned from what `start` made, as a share of half a turn (Gromov et al.
        2024, arXiv 2403.17887, equation 7)."""
        from torch.nn import functional

        cosines = functional.cosine_similarity(self.states[start], self.states[end], dim=-1)
        return float(cosines.clamp(-1, 1).acos().mean()) / math.pi


def measure(model: nn.Module, batches: Iterable[Batch]) -> Importance:
    """Mean magnitudes over the texts: of hidden units, each times the norm of what it adds; of heads' outputs; and of
    what normalisation gives each channel (Muralidharan et al. 2024, arXiv 2407.14679, section 2.2).

    Raises:
        ModelError: its layers are not of the kind that has such parts.
    """
    import torch

    layers: list[Any] = list(decoder_layers(model))
    inside = {"mlp": "down_proj", "self_attn": "o_proj"}
    if not all(hasattr(getattr(layer, part, None), last) for layer in layers for part, last in inside.items()):
        raise ModelError(
            "its layers have other parts than can be cut", remedy="cut layers (keep: lower, or greedy) or tokens only"
        )
    config: Any = model.config
    units = [torch.zeros(layer.mlp.down_proj.in_features) for layer in layers]
    shared = config.num_key_value_heads
    groups = [torch.zeros(shared) for _ in layers]
    heads = [torch.zeros(shared, config.num_attention_heads // shared) for _ in layers]
    channels = torch.zeros(config.hidden_size)
    real, states, positions = torch.zeros(0, dtype=torch.bool), [], 0
    into: list[Tensor] = []

    def note_units(row: int) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            units[row] += inputs[0].flatten(0, 1)[real].abs().sum(0)

        return note

    def note_heads(row: int) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            # (position, group, query, width)
            outputs = inputs[0].flatten(0, 1)[real].unflatten(1, (*heads[row].shape, -1))
            groups[row] += outputs.flatten(2).norm(dim=-1).sum(0)
            heads[row] += outputs.norm(dim=-1).sum(0)

        return note

    def note_channels(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        channels.add_(output.flatten(0, 1)[real].abs().sum(0))

    def note_state(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        into.append(inputs[0].flatten(0, 1))

    def note_last(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        into.append((output[0] if isinstance(output, tuple) else output).flatten(0, 1))

    with ExitStack() as hooks, torch.inference_mode():
        for row, layer in enumerate(layers):
            norms = [module for name, module in layer.named_children() if name.endswith("norm")]
            for handle in (
                layer.mlp.down_proj.register_forward_pre_hook(note_units(row)),
                layer.self_attn.o_proj.register_forward_pre_hook(note_heads(row)),
                layer.register_forward_pre_hook(note_state),
                *(norm.register_forward_hook(note_channels) for norm in norms),
            ):
                hooks.callback(handle.remove)
        hooks.callback(layers[-1].register_forward_hook(note_last).remove)
        for batch in batches:
            real = (batch.segments >= 0).flatten()
            into.clear()
            last_states(model, batch)
            states.append(torch.stack([state[batch.target_at] for state in into]).float())
            positions += int(real.sum())
    added = [layer.mlp.down_proj.weight.detach().float().norm(dim=0) for layer in layers]
    return Importance(
        tuple(found * norm / positions for found, norm in zip(units, added, strict=True)),
        tuple(found / positions for found in groups),
        tuple(found / positions for found in heads),
        channels / positions,
        torch.cat(states, dim=1),
    )
