"""Rows of the same answer alike, others apart: a loss on the last hidden states where answers begin.

In come hidden states and a batch, out goes one scalar. Rows are compared with those that are computed at once with
them. Knows no head and no optimizer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from slmops.core.errors import SlmopsError
from slmops.models.packing import Batch, Example
from slmops.training.config import ContrastiveConfig

if TYPE_CHECKING:
    from torch import Tensor


def check_alike(examples: Iterable[Example]) -> None:
    """That there is something to be alike.

    Raises:
        SlmopsError: no two rows have the same answer.
    """
    answers = Counter(example.answer for example in examples)
    if not answers or max(answers.values()) < 2:
        raise SlmopsError(
            "no two rows have the same answer", where="train.contrastive", remedy="remove it: nothing is to be alike"
        )


def contrastive_loss(states: Tensor, batch: Batch, config: ContrastiveConfig) -> Tensor:
    """Summed over the rows that have another one of the same answer in the batch; `states` are (sequence · time,
    width).

    `infonce`: supervised contrastive loss, outside form (Khosla et al. 2020, arXiv 2004.11362, equation 2). `margin`:
    mean over a row's pairs of 1 − cosine for the same answer, of what exceeds the margin for others (Hadsell et al.
    2006, with cosines).
    """
    import torch
    from torch.nn import functional

    answers: dict[int, list[int]] = {}
    for row, token in zip(batch.target_row.tolist(), batch.target_ids.tolist(), strict=True):
        answers.setdefault(row, []).append(token)
    written = list(answers.values())
    same = torch.tensor([[one == other for other in written] for one in written]).fill_diagonal_(False)
    own = torch.eye(len(written), dtype=torch.bool)
    directions = functional.normalize(states[batch.target_at[batch.first_targets()]].float(), dim=1)
    cosines = directions @ directions.T
    if config.kind == "infonce":
        said = (cosines / config.temperature).masked_fill(own, -torch.inf).log_softmax(1)
        losses = -said.masked_fill(~same, 0).sum(1) / same.sum(1).clamp(min=1)
    else:
        pairs = torch.where(same, 1 - cosines, (cosines - config.margin).clamp(min=0)).masked_fill(own, 0)
        losses = pairs.sum(1) / max(1, len(written) - 1)
    return losses[same.any(1)].sum()
