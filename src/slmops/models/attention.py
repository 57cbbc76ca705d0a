"""Attention inside packed sequences: every segment sees itself and its ancestors, and nothing else is computed.

A dense mask over a packed sequence would spend half of a training step on products that it then throws away (measured
in benchmarks/packing.py). Here the keys of each segment's path are gathered, segments of one depth at a time. Works on
transformers' attention interface and a Batch; knows no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmops.core.errors import ModelError, need
from slmops.models.packing import Batch

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "slmops_packed"


@dataclass(frozen=True)
class Level:
    """All segments of one depth: where their tokens and the tokens they may see stand, as flat indices."""

    query_at: Tensor  # (segment, query), 0 where padded
    key_at: Tensor  # (segment, key)
    real_at: Tensor  # (real,) flat (segment · query) indices of what is no padding
    distance: Tensor  # (segment, 1, query, key) how far back a key stands; negative where it may not be seen

    def mask(self, window: int | None) -> Tensor:
        seen = self.distance >= 0
        return seen & (self.distance < window) if window else seen


@dataclass(frozen=True)
class Layout:
    """The levels of a batch, and where each flat token's result is found among all levels' real queries."""

    levels: tuple[Level, ...]
    found_at: Tensor  # (sequence · time,)


def lay_out(batch: Batch) -> Layout:
    """Finds each segment's path once, for all layers."""
    import torch

    time = batch.ids.shape[1]
    spans: dict[tuple[int, int], list[int]] = {}
    for flat, segment in enumerate(batch.segments.flatten().tolist()):
        if segment >= 0:
            spans.setdefault((flat // time, segment), []).append(flat)
    parents, positions = batch.parents.tolist(), batch.positions.flatten()
    by_depth: dict[int, list[tuple[list[int], list[int]]]] = {}
    for (sequence, segment), own in spans.items():
        path, depth, parent = list(own), 0, parents[sequence][segment]
        while parent >= 0:
            path, depth, parent = spans[sequence, parent] + path, depth + 1, parents[sequence][parent]
        by_depth.setdefault(depth, []).append((own, path))
    levels, order = [], []
    for depth in sorted(by_depth):
        owns, paths = zip(*by_depth[depth], strict=True)
        query_at, real = _padded(owns)
        key_at, exists = _padded(paths)
        distance = positions[query_at][:, :, None] - positions[key_at][:, None, :]
        distance[~exists[:, None, :].expand_as(distance)] = -1
        distance[:, :, 0] = distance[:, :, 0].masked_fill(~real, 0)  # padding sees one key, so that no row is empty
        levels.append(Level(query_at, key_at, real.flatten().nonzero().flatten(), distance[:, None]))
        order += [flat for own in owns for flat in own]
    found_at = torch.full((batch.ids.numel(),), len(order), dtype=torch.long)  # padding finds the zeros at the end
    found_at[torch.tensor(order)] = torch.arange(len(order))
    return Layout(tuple(levels), found_at)


def register() -> str:
    """Makes the attention known to transformers; returns its name for `attn_implementation`."""
    transformers = need("transformers", "train")
    masking = need("transformers.masking_utils", "train")
    transformers.AttentionInterface.register(NAME, _attend)
    transformers.AttentionMaskInterface.register(NAME, masking.sdpa_mask)
    return NAME


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: Layout | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """(sequence, head, time, width) each → (sequence, time, head, width); without a layout, plain attention."""
    import torch

    if layout is None:
        plain = need("transformers.integrations.sdpa_attention", "train").sdpa_attention_forward
        result: tuple[Tensor, None] = plain(module, query, key, value, attention_mask, scaling=scaling, **others)
        return result
    if others.get("softcap") is not None:
        raise ModelError("packed attention has no soft cap", remedy="use a model without attention soft-capping")
    sequences, heads, time, width = query.shape
    groups = heads // key.shape[1]
    queries, keys, values = (part.transpose(1, 2).reshape(sequences * time, -1, width) for part in (query, key, value))
    parts = []
    for level in layout.levels:
        grouped = _rows(queries, level.query_at).transpose(1, 2).unflatten(1, (-1, groups))  # head → (key head, group)
        seen_keys, seen_values = (_rows(part, level.key_at).transpose(1, 2)[:, :, None] for part in (keys, values))
        scores = grouped @ seen_keys.transpose(-1, -2) * scaling  # (segment, key head, group, query, key)
        hidden = ~level.mask(sliding_window)[:, :, None]
        weights = scores.float().masked_fill(hidden, -torch.inf).softmax(-1).to(scores.dtype)
        attended = (weights @ seen_values).flatten(1, 2).transpose(1, 2)  # (segment, query, head, width)
        parts.append(attended.flatten(0, 1).index_select(0, level.real_at))
    parts.append(queries.new_zeros(1, heads, width))
    found = torch.cat(parts).index_select(0, layout.found_at)
    return found.reshape(sequences, time, heads, width), None


def _rows(values: Tensor, at: Tensor) -> Tensor:
    """values[at], with a gradient that is summed row-wise: several times faster than indexing's own on the CPU."""
    return values.index_select(0, at.flatten()).unflatten(0, at.shape)


def _padded(rows: tuple[list[int], ...]) -> tuple[Tensor, Tensor]:
    """(row, longest) indices with 0 where padded, and where they are real."""
    import torch

    longest = max(map(len, rows))
    indices = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return indices, torch.arange(longest)[None, :] < lengths[:, None]
