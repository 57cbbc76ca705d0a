"""Virtual tokens that learn while all weights stay: prompt tuning (Lester et al. 2021, arXiv 2104.08691).

In comes a model whose vocabulary has such tokens; their vectors alone learn, and are put back into its embeddings. A
head that shares the embeddings' matrix says these tokens with the same vectors, as the plain model that ships will: it
learns never to. Knows no file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from slmops.models.tokenizer import Ids

if TYPE_CHECKING:
    from torch import Tensor


class VirtualEmbedding(nn.Module):
    """Embeddings of which the rows from `first` on, as many as `rows` has, learn."""

    def __init__(self, plain: nn.Embedding, ids: Ids) -> None:
        super().__init__()
        self.plain, self.first = plain, ids[0]
        self.rows = nn.Parameter(plain.weight.detach()[ids[0] : ids[-1] + 1].clone())

    def forward(self, ids: Tensor) -> Tensor:
        scale = getattr(self.plain, "embed_scale", 1.0)  # Gemma's embeddings multiply what they look up
        return self.learned_among(self.plain(ids), ids, scale)

    def learned_among(self, found: Tensor, ids: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """(…, width) `found` for `ids`, with what was learned in the place of virtual tokens."""
        place = ids - self.first
        virtual = (place >= 0) & (place < len(self.rows))
        learned = self.rows[place.clamp(0, len(self.rows) - 1)] * torch.as_tensor(scale, dtype=found.dtype)
        return torch.where(virtual[..., None], learned, found)


class VirtualHead(nn.Module):
    """An output head that shares its matrix with a VirtualEmbedding."""

    def __init__(self, plain: nn.Linear, embedding: VirtualEmbedding) -> None:
        super().__init__()
        self.plain, self.embedding, self.bias = plain, embedding, plain.bias

    def rows_of(self, ids: list[int]) -> Tensor:
        """The rows of some tokens, without a copy of all others."""
        return self.embedding.learned_among(self.plain.weight[ids], torch.tensor(ids))

    def forward(self, states: Tensor) -> Tensor:
        logits, own = self.plain(states), functional.linear(states, self.embedding.rows)
        first = self.embedding.first
        return torch.cat([logits[..., :first], own, logits[..., first + own.shape[-1] :]], -1)


def learn_virtual_tokens(model: Any, ids: Ids) -> None:
    """Lets the vectors of `ids`, which follow one another, learn; all else stays."""
    head, tied = model.get_output_embeddings(), model.config.tie_word_embeddings
    model.requires_grad_(False)
    embedding = VirtualEmbedding(model.get_input_embeddings(), ids)
    model.set_input_embeddings(embedding)
    if tied:
        model.set_output_embeddings(VirtualHead(head, embedding))


def merge_virtual_tokens(model: Any) -> None:
    """Puts what was learned into the embeddings; a model without any is left as it is."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not isinstance(embedding, VirtualEmbedding):
        return
    with torch.no_grad():
        embedding.plain.weight[embedding.first : embedding.first + len(embedding.rows)] = embedding.rows
    model.set_input_embeddings(embedding.plain)
    if isinstance(head, VirtualHead):
        model.set_output_embeddings(head.plain)
