"""What computes while a model learns: the model itself, or a copy of it in bf16, rounded, or both.

In come an fp32 model and how its copy differs. The optimizer works on fp32 weights, since a step is often smaller than
what bf16 or int4 can tell apart; the copy's gradients are taken for theirs. Knows no loss, no data, no optimizer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from slmops.core.errors import need
from slmops.models.forward import NumberFormat, computing_copy
from slmops.models.lora import lora_layers

if TYPE_CHECKING:
    from torch import Tensor, nn

Rounding = Callable[["Tensor"], "Tensor"]  # a weight → the nearest one that the shipped format can hold


class Computing:
    """`model` computes; `learning` are the fp32 weights that learn.

    Rounded weights pass their gradient straight through to those they were rounded from (Bengio et al. 2013, arXiv
    1308.3432): so a model learns to be right after it was quantized. What ships of a matrix with a low-rank adapter is
    their sum, rounded: so that is what it computes with, and the adapter's own two matrices are not rounded.
    """

    def __init__(self, model: nn.Module, number_format: NumberFormat, rounding: Rounding | None = None) -> None:
        torch = need("torch", "train")
        alike = number_format == "float32"
        self.model = copy.deepcopy(model) if rounding and alike else computing_copy(model, number_format)
        self._rounding = rounding
        of_matrices = (torch.nn.Linear, torch.nn.Embedding)
        matrices = {part._parameters.get("weight") for part in model.modules() if isinstance(part, of_matrices)}
        pairs = zip(lora_layers(model), lora_layers(self.model), strict=True) if rounding else ()
        self._adapted = [
            (own, copied) for (_, own), (_, copied) in pairs if isinstance(own.get_base_layer(), torch.nn.Linear)
        ]
        for layer, _ in self._adapted:
            matrices -= set(layer.parameters())
        self._weights = [
            (master, copied, master in matrices)
            for master, copied in zip(model.parameters(), self.model.parameters(), strict=True)
            if copied is not master
        ]
        self.learning = [weight for weight in model.parameters() if weight.requires_grad]
        for master, copied, is_matrix in self._weights:
            if rounding and is_matrix and not master.requires_grad:
                copied.data.copy_(rounding(master.data))

    def give_weights(self, rounded: bool) -> None:
        """Brings what was learned into the model that computes. What does not learn was rounded from the beginning:
        what lies above it learns upon what will ship."""
        for master, copied, is_matrix in self._weights:
            if master.requires_grad:
                rounds = rounded and is_matrix and self._rounding
                copied.data.copy_(self._rounding(master.data) if rounds else master.data)  # type: ignore[misc]
        for own, copied in self._adapted:
            base = own.get_base_layer().weight.data
            if rounded:
                added = own.get_delta_weight(own.active_adapters[0]).data
                base = self._rounding(base + added) - added  # type: ignore[misc]
            copied.get_base_layer().weight.data.copy_(base)

    def take_gradients(self) -> None:
        """Adds what the computing model's weights collected to the gradients of those that learn."""
        for master, copied, _ in self._weights:
            if copied.grad is not None:
                gradient = copied.grad.float()
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
                copied.grad = None
