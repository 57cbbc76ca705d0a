"""Target replication: not only where the answer begins, but at every token of the text the model says what it will be.

One target an example is little to learn from. Replicated with weights that grow along the text, it tells every token
what it speaks for (Lipton et al. 2016, arXiv 1511.03677, "target replication"; growing weights: Dai and Le 2015, arXiv
1511.01432, "linear gain"). Only among the tokens that can begin an answer, so that it costs a few rows of the head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmops.models.forward import head_logits
from slmops.models.packing import Batch
from slmops.models.tokenizer import Ids
from slmops.training.losses import Taught

if TYPE_CHECKING:
    from torch import Tensor, nn


def replicated_loss(model: nn.Module, states: Tensor, batch: Batch, begins: Ids, taught: Taught | None) -> Tensor:
    """Cross-entropy, summed over examples, of their first targets at all positions of their last segments before it.

    `states` are (sequence · time, width) last hidden states, `begins` the token ids that can begin an answer, behind
    what all answers begin with: their first targets are those.
    """
    import torch

    first, candidates = batch.first_targets(), torch.tensor(begins)
    at: list[int] = []
    weights: list[float] = []
    example: list[int] = []
    for index, target in enumerate(first):
        end, length = int(batch.target_at[target]), int(batch.target_offset[target]) - 1
        at += range(end - length, end)
        weights += [2 * (step + 1) / (length * (length + 1)) for step in range(length)]
        example += [index] * length
    ahead = _shared(batch, first, candidates)
    if not at or ahead is None:
        return states.new_zeros(())
    first = [target + ahead for target in first]
    temperature = taught.temperature if taught else 1.0
    wanted = _answers(batch.target_ids[first], candidates, taught, first)[torch.tensor(example)]
    said = torch.log_softmax(head_logits(model, states[torch.tensor(at)], begins) / temperature, -1)
    return -(torch.tensor(weights) * (wanted * said).sum(1)).sum() * temperature**2


def _shared(batch: Batch, first: list[int], candidates: Tensor) -> int | None:
    """How many targets stand before those of which each is one of the candidates; None where there are none."""
    import torch

    begin, fewest = torch.tensor(first), int(batch.target_row.unique(return_counts=True)[1].min()) if first else 0
    here = (ahead for ahead in range(fewest) if torch.isin(batch.target_ids[begin + ahead], candidates).all())
    return next(here, None)


def _answers(target_ids: Tensor, candidates: Tensor, taught: Taught | None, first: list[int]) -> Tensor:
    """(example, candidate) probabilities of each candidate as the answer's first token."""
    if taught is None:
        return (target_ids[:, None] == candidates).float()
    known = taught.ids[first][:, :, None] == candidates  # (example, k, candidate)
    found = (known * taught.logprobs[first].exp()[:, :, None]).sum(1)
    return found / found.sum(1, keepdim=True).clamp(min=1e-6)
