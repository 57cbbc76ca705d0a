"""What goes on inside the student becomes like what goes on inside its teacher: hidden states, what heads look at, and
how tokens' values relate.

In come what both compute for the same texts, and which of the teacher's layers each of the student's follows; out goes
one value a row. Both may be asked differently: held together are the tokens at the end of what both read, those of the
message and its answer. Knows no runtime and no optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmops.core.errors import ModelError, need
from slmops.models.attention import Heads
from slmops.models.forward import can_begin_between_layers, pack_for, run_layers
from slmops.models.inside import Inside, watched
from slmops.models.packing import Batch, Example, by_length
from slmops.training.distillation_config import RepresentationConfig
from slmops.training.inner_losses import cosine_distance, map_divergence, relation_divergence

if TYPE_CHECKING:
    from torch import Tensor, nn

_PROJECTIONS = "slmops_projections"
_LONGEST = 512  # tokens that are held together, the last ones: what heads look at takes the square of them


@dataclass(frozen=True)
class Common:
    """(row, token) flat (sequence · time) indices of the tokens that two models have in common, the student's and the
    teacher's, 0 where there is none; `real` says where there is one."""

    student: Tensor
    teacher: Tensor
    real: Tensor


@dataclass(frozen=True)
class Representation:
    """The teacher, what it reads for each row, and which of its layers each of the student's that learn `follows`.
    `new_id` tells what its tokens are called in the student's vocabulary, where that is another one."""

    teacher: nn.Module
    examples: Mapping[str, Example]
    config: RepresentationConfig
    follows: Mapping[int, int]
    new_id: Mapping[int, int] | None
    max_tokens: int

    def terms(self, model: nn.Module, inside: Inside, batch: Batch, *, rows: int) -> dict[str, Tensor]:
        """What is learned of a batch, weighed: its part of the mean over the `rows` of a whole step. Rows that the
        teacher does not read say nothing.

        Raises:
            ModelError: a layer's heads are not told.
        """
        torch = need("torch", "train")
        known = [self.examples[row] for row in batch.rows if row in self.examples]
        top = max(self.follows.values()) + 1 if can_begin_between_layers(self.teacher) else None
        terms = {name: torch.zeros(()) for name, weight in self.config.weights.items() if weight}
        for read in pack_for(self.teacher, by_length(known), self.max_tokens):
            with watched(self.teacher) as teacher, torch.no_grad():
                run_layers(self.teacher, read, read.ids, slice(top))
            common = in_common(batch, read, self.new_id)
            pairs = self.follows.items()
            for name in terms:
                of_layers = [self._of_layer(name, model, inside, teacher, pair, common) for pair in pairs]
                terms[name] = terms[name] + self.config.weights[name] * torch.stack(of_layers).mean() / rows
        return terms

    def _of_layer(
        self, name: str, model: nn.Module, student: Inside, teacher: Inside, pair: tuple[int, int], common: Common
    ) -> Tensor:
        layer, other = pair
        if name == "hidden_states":
            own = _at(student.states[layer], common.student)
            return cosine_distance(project(model, layer, own), _at(teacher.states[other], common.teacher), common.real)
        if layer not in student.heads or other not in teacher.heads:
            remedy = "write representation: hidden_states"
            raise ModelError("its attention does not tell what its heads look at", remedy=remedy)
        own_heads = _heads_at(student.heads[layer], common.student)
        heads = _heads_at(teacher.heads[other], common.teacher)
        if name == "attention":
            return map_divergence(own_heads, heads, common.real)
        return relation_divergence(own_heads.values, heads.values, common.real)


def in_common(student: Batch, teacher: Batch, new_id: Mapping[int, int] | None) -> Common:
    """The tokens at the end of both, for the teacher's rows; the last one of all, behind which nothing is said, is left
    out."""
    import torch

    own, pairs = dict(_last_segments(student)), []
    for row, (start, ids) in _last_segments(teacher):
        said = [new_id.get(id, -1) for id in ids] if new_id else ids
        own_start, own_ids = own[row]
        length = 0
        while length < min(len(said), len(own_ids)) and said[-1 - length] == own_ids[-1 - length]:
            length += 1
        length = min(length, _LONGEST + 1)
        if length > 1:
            pairs.append((own_start + len(own_ids) - length, start + len(ids) - length, length - 1))
    firsts = torch.tensor(pairs, dtype=torch.long).reshape(-1, 3)
    steps = torch.arange(max((length for _, _, length in pairs), default=0))
    real = steps < firsts[:, 2:]
    return Common((firsts[:, :1] + steps) * real, (firsts[:, 1:2] + steps) * real, real)


def _last_segments(batch: Batch) -> Iterator[tuple[str, tuple[int, list[int]]]]:
    """Of each row, where its last segment begins, and its ids up to the last that is learned."""
    ids = batch.ids.flatten()
    targets = zip(batch.target_row.tolist(), batch.target_at.tolist(), batch.target_offset.tolist(), strict=True)
    last = {row: (at, offset) for row, at, offset in targets}
    for row, (at, offset) in last.items():
        yield batch.rows[row], (at + 1 - offset, ids[at + 1 - offset : at + 2].tolist())


def add_projections(model: nn.Module, layers: Sequence[int], width: int, seed: int) -> None:
    """A matrix for each of the student's `layers` that brings its hidden states to the teacher's `width`, learned with
    it and thrown away afterwards; none where they are as wide (Jiao et al. 2020, TinyBERT, arXiv 1909.10351, equation
    8)."""
    torch = need("torch", "train")
    own = model.config.hidden_size
    if own == width:
        return
    generator = torch.Generator().manual_seed(seed)
    matrices = {str(layer): torch.randn(own, width, generator=generator) / math.sqrt(own) for layer in layers}
    model.add_module(_PROJECTIONS, torch.nn.ParameterDict(matrices))


def remove_projections(model: nn.Module) -> None:
    if hasattr(model, _PROJECTIONS):
        delattr(model, _PROJECTIONS)


def project(model: nn.Module, layer: int, states: Tensor) -> Tensor:
    """The (row, token, width) states of a layer, as wide as the teacher's."""
    matrices = getattr(model, _PROJECTIONS, None)
    return states if matrices is None else states @ matrices[str(layer)]


def states_of(
    representation: Representation, model: nn.Module, examples: Sequence[Example]
) -> tuple[list[Tensor], list[Tensor]]:
    """The (token, width) states of all layers of student and teacher for the tokens that they have in common."""
    torch = need("torch", "train")
    found: tuple[list[list[Tensor]], list[list[Tensor]]] = ([], [])
    for batch in pack_for(model, by_length(examples), representation.max_tokens):
        known = [representation.examples[row] for row in batch.rows]
        for read in pack_for(representation.teacher, by_length(known), representation.max_tokens):
            with torch.no_grad(), watched(model) as own:
                run_layers(model, batch, batch.ids)
            with torch.no_grad(), watched(representation.teacher) as other:
                run_layers(representation.teacher, read, read.ids)
            common = in_common(batch, read, representation.new_id)
            for kept, inside, at in ((found[0], own, common.student), (found[1], other, common.teacher)):
                kept.append([_at(inside.states[layer], at)[common.real] for layer in sorted(inside.states)])
    student, teacher = ([torch.cat(layer) for layer in zip(*kept, strict=True)] for kept in found)
    return student, teacher


def _at(states: Tensor, where: Tensor) -> Tensor:
    """(sequence, time, …) → (row, token, …)."""
    flat = states.flatten(0, 1)
    return flat.index_select(0, where.flatten()).unflatten(0, where.shape)


def _heads_at(heads: Heads, where: Tensor) -> Heads:
    """(sequence, head, time, width) → (row, token, head, width)."""
    return Heads(*(_at(part.transpose(1, 2), where) for part in (heads.queries, heads.keys, heads.values)))
