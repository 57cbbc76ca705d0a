"""What a model computes on its way: each layer's hidden states, and what its heads attend with.

In comes a model; whatever is run with it while it is watched is told. Works with any layers that `run_layers` runs;
those beneath frozen states are not run, and so not told. Knows no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmops.models.attention import Heads, watched_heads
from slmops.models.forward import decoder_layers

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Inside:
    """By a layer's number: the (sequence, time, width) hidden states that it makes, and its heads."""

    states: dict[int, Tensor]
    heads: dict[int, Heads]


@contextmanager
def watched(model: nn.Module) -> Iterator[Inside]:
    """What `model` computes meanwhile."""
    states: dict[int, Tensor] = {}

    def note(layer: int) -> Callable[..., None]:
        def noted(module: nn.Module, inputs: Any, output: Any) -> None:
            states[layer] = output[0] if isinstance(output, tuple) else output

        return noted

    with ExitStack() as ends:
        for number, layer in enumerate(decoder_layers(model)):
            ends.callback(layer.register_forward_hook(note(number)).remove)
        heads = ends.enter_context(watched_heads())
        yield Inside(states, heads)
