"""Looks at how far a training has come: one loss, of some rows that it learns and of those that are held out.

In come the model that computes and both kinds of rows. What is found is comparable: the answer's cross-entropy, without
noise, dropout, replicated targets or a teacher. Knows no optimizer and no schedule.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from slmops.core.errors import need
from slmops.models.forward import head_logits, pack_for
from slmops.models.packing import Example, by_length, pack
from slmops.training.chunked_head import CHUNK, chunk_of
from slmops.training.config import TrainConfig
from slmops.training.losses import TokenLoss, cross_entropy
from slmops.training.terms import Read, Teaching, gradient_norms, has_several

if TYPE_CHECKING:
    from torch import Tensor, nn

_FEWEST, _MOST, _SHARE = 16, 64, 1 / 16  # how many of the rows that are learned are looked at,
_ENOUGH, _LEAST = 2048, 4  # but no more than have so many targets, be they few rows: a look must cost little
_FEWEST_PULLED = 8  # for the gradients of terms, where a step has fewer


class Looks:
    """How well `model`, which learns by `config`, knows some of the `examples`, and all of `validation`."""

    def __init__(
        self,
        model: nn.Module,
        examples: Sequence[Example],
        validation: Sequence[Example],
        config: TrainConfig,
        read: Read,
    ) -> None:
        count = max(_FEWEST, min(_MOST, round(len(examples) * _SHARE)))
        targets = sum(sum(example.learn) for example in examples) / len(examples)
        count = min(count, max(_LEAST, math.ceil(_ENOUGH / max(1, targets))))
        self._model, self._config, self._read = model, config, read
        self._seen = _spread(examples, count)
        self._held_out = validation

    def both(self) -> tuple[float, float | None]:
        """The loss of rows that are learned, and of those held out, where there are such."""
        return self.seen(), self.held_out()

    def seen(self) -> float:
        return self._loss(self._seen)

    def held_out(self) -> float | None:
        if not self._held_out:
            return None
        return self._loss(self._held_out)

    def _loss(self, examples: Sequence[Example]) -> float:
        config = self._config
        return mean_loss(self._model, examples, config.max_tokens, cross_entropy, self._read, chunk_of(config))

    def pulls(self, teaching: Teaching) -> dict[str, float]:
        """The norm of each term's gradient, of about as many rows as a step learns; nothing of a single term. Where
        rows are held against those of the same answer, of all that are looked at: some must have one."""
        config = self._config
        if not has_several(teaching, config):
            return {}
        squares: Counter[str] = Counter()
        self._model.train(config.gradient_checkpointing)  # which is done while a model learns, and at no other time
        count = len(self._seen) if config.contrastive else max(_FEWEST_PULLED, config.batch_size)
        for batch in pack(by_length(_spread(self._seen, count)), config.max_tokens):
            norms = gradient_norms(self._model, batch, self._read, teaching, config)
            squares.update({name: norm**2 for name, norm in norms.items()})
        self._model.eval()
        return {name: square**0.5 for name, square in squares.items()}

    def twice_as_far(
        self, begin: Mapping[str, Tensor], learning: Mapping[str, Tensor], take: Callable[[], None]
    ) -> float:
        """The loss of rows that were learned, had the weights gone twice as far from where they began, in the direction
        they took: whether they should have. `take` makes the model compute with them; they are given back as they
        were."""
        ends = {name: weight.detach().clone() for name, weight in learning.items()}
        for name, weight in learning.items():
            weight.data.copy_(begin[name]).lerp_(ends[name], 2.0)
        take()
        found = self.seen()
        for name, weight in learning.items():
            weight.data.copy_(ends[name])
        take()
        return found


def _spread(examples: Sequence[Example], count: int) -> Sequence[Example]:
    """`count` of them, or all, evenly spread."""
    count = min(count, len(examples))
    return [examples[place * len(examples) // count] for place in range(count)]


def mean_loss(
    model: nn.Module, examples: Sequence[Example], max_tokens: int, loss: TokenLoss, read: Read, chunk: int = CHUNK
) -> float:
    """Mean loss a target token, without learning; the logits of `chunk` targets exist at once."""
    torch = need("torch", "train")
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in pack_for(model, by_length(examples), max_tokens):
            states = read(batch)[batch.target_at]
            for some, ids in zip(states.split(chunk), batch.target_ids.split(chunk), strict=True):
                total += float(loss(head_logits(model, some), ids, None).sum())
            count += len(batch.target_ids)
    return total / max(1, count)
