"""Target replication: not only where the answer begins, but at every token of the text the model says what it will be.

One target an example is little to learn from. Replicated with weights that grow along the text, it tells every token
what it speaks for (Lipton et al. 2016, arXiv 1511.03677, "target replication"; growing weights: Dai and Le 2015, arXiv
1511.01432, "linear gain"). Only among the tokens that can begin an answer, so that it costs a few rows of the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmops.models.forward import head_logits
from slmops.models.packing import Batch
from slmops.models.tokenizer import Ids
from slmops.training.losses import Taught

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Begins:
    """How answers of a closed set begin: by one of the token `ids`, `behind` so many with which all of them begin."""

    ids: Ids = ()
    behind: int = 0

    def __bool__(self) -> bool:
        return bool(self.ids)


FREE = Begins()  # where answers are free


def replicated_loss(model: nn.Module, states: Tensor, batch: Batch, begins: Begins, taught: Taught | None) -> Tensor:
    """Cross-entropy, summed over examples, of the first targets that tell them apart, at all positions of their last
    segments before the answer. `states` are (sequence · time, width) last hidden states. An answer of the student's own
    that ends before it tells has none."""
    import torch

    candidates, row_of = torch.tensor(begins.ids), batch.target_row.tolist()
    tells = [(at, at + begins.behind) for at in batch.first_targets()]
    first = [at for at, telling in tells if row_of[telling : telling + 1] == [row_of[at]]]
    at: list[int] = []
    weights: list[float] = []
    example: list[int] = []
    for index, target in enumerate(first):
        end, length = int(batch.target_at[target]), int(batch.target_offset[target]) - 1
        at += range(end - length, end)
        weights += [2 * (step + 1) / (length * (length + 1)) for step in range(length)]
        example += [index] * length
    if not at:
        return states.new_zeros(())
    first = [target + begins.behind for target in first]
    temperature = taught.temperature if taught else 1.0
    wanted = _answers(batch.target_ids[first], candidates, taught, first)[torch.tensor(example)]
    said = torch.log_softmax(head_logits(model, states[torch.tensor(at)], begins.ids) / temperature, -1)
    return -(torch.tensor(weights) * (wanted * said).sum(1)).sum() * temperature**2


def _answers(target_ids: Tensor, candidates: Tensor, taught: Taught | None, first: list[int]) -> Tensor:
    """(example, candidate) probabilities of each candidate as the answer's first token."""
    if taught is None:
        return (target_ids[:, None] == candidates).float()
    known = taught.ids[first][:, :, None] == candidates  # (example, k, candidate)
    found = (known * taught.logprobs[first].exp()[:, :, None]).sum(1)
    return found / found.sum(1, keepdim=True).clamp(min=1e-6)
