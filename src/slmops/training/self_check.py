"""The fast path held against the plain one, before anything is learned: packed sequences, own attention, states of
frozen layers from a file, on one side; the model as its authors wrote it, one example after another, on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from slmops.core.errors import ModelError
from slmops.models.forward import NumberFormat, head_logits, keeps_apart
from slmops.models.packing import Batch, Example, pack
from slmops.training.blame import row_losses
from slmops.training.losses import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor, nn

_TOLERATED = {"float32": 1e-2, "bfloat16": 0.3}  # nats a target: rounding, and not another computation
_OFF = {"float32": 0.1, "bfloat16": 1.0}  # at any token of the vocabulary
_CHECKED, _LOOKED_AT = 3, 8  # rows; tokens of one, at which all of the vocabulary is looked at


class PlainReader:
    """Reads batches of one example each with the model's own attention."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def last_states(self, batch: Batch) -> Tensor:
        """(sequence · time, width) last hidden states."""
        decoder = getattr(self._model, self._model.base_model_prefix)
        states: Tensor = decoder(input_ids=batch.ids, use_cache=False).last_hidden_state
        return states.flatten(0, 1)


def why_not_packed(
    model: nn.Module, examples: Sequence[Example], read: Callable[[Batch], Tensor], number_format: NumberFormat
) -> str:
    """Why packed sequences cannot be trusted with this model; nothing where they compute what it does.

    Raises:
        ModelError: not even the output head computes what it does.
    """
    _check_head(model, min(examples, key=lambda example: example.length), number_format)
    if not keeps_apart(model):
        return "rows in packed sequences would not stay apart: this model's layers join neighbours by convolutions"
    some = sorted(examples, key=lambda example: len(example.path[-1]))[:_CHECKED]
    plain: dict[str, float] = {}
    for example in some:
        plain |= _losses(model, [example], PlainReader(model).last_states)
    try:
        packed = _losses(model, some, read)
    except ModelError as error:
        return str(error)
    off = max(abs(packed[row] - loss) for row, loss in plain.items())
    if off <= _TOLERATED[number_format]:
        return ""
    return f"packed sequences are {off:.2g} nats a token off with this model"


def _check_head(model: nn.Module, example: Example, number_format: NumberFormat) -> None:
    import torch

    ids = tuple(token for segment in example.path for token in segment)[:_LOOKED_AT]
    (batch,) = pack([Example(example.row, (ids,), (False,) * (len(ids) - 1) + (True,))], len(ids))
    with torch.inference_mode():
        ours = head_logits(model, PlainReader(model).last_states(batch)).log_softmax(-1)
        own = model(input_ids=batch.ids, use_cache=False).logits.flatten(0, 1).float().log_softmax(-1)
    if (off := float((ours - own).abs().max())) > _OFF[number_format]:
        what = f"{type(model).__name__} makes its logits of hidden states in a way of its own ({off:.2g} nats off)"
        raise ModelError(what, remedy="choose a model of another architecture")


def _losses(model: nn.Module, examples: Sequence[Example], read: Callable[[Batch], Tensor]) -> dict[str, float]:
    import torch

    losses: dict[str, float] = {}
    with torch.inference_mode():
        for batch in pack(examples, sum(example.length for example in examples)):
            logits = head_logits(model, read(batch)[batch.target_at])
            losses |= row_losses(batch.rows, batch.target_row, cross_entropy(logits, batch.target_ids, None))
    return losses
