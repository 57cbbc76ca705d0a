"""Attention inside packed sequences: every segment sees itself and its ancestors, and nothing else is computed.

A dense mask over a packed sequence would spend half of a training step on products that it then throws away (measured
in benchmarks/packing.py). Here the keys of each segment's path are gathered, segments of one depth at a time. Works on
transformers' attention interface and a Batch; knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slmops.core.errors import ModelError, need
from slmops.models.packing import Batch

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "slmops_packed"


@dataclass(frozen=True)
class Heads:
    """What a layer's heads attend with, (sequence, head, time, width) each: scaled queries, and the keys and values
    that some of them share."""

    queries: Tensor
    keys: Tensor
    values: Tensor


_WATCHED: ContextVar[dict[int, Heads] | None] = ContextVar("watched", default=None)


@contextmanager
def watched_heads() -> Iterator[dict[int, Heads]]:
    """Of the layers that are computed meanwhile, by their number, the heads: packed or not."""
    found: dict[int, Heads] = {}
    token = _WATCHED.set(found)
    try:
        yield found
    finally:
        _WATCHED.reset(token)


@dataclass(frozen=True)
class Level:
    """All segments of one depth: where their tokens and the tokens they may see stand, as flat indices."""

    query_at: Tensor  # (segment, query), 0 where padded
    key_at: Tensor  # (segment, key)
    real_at: Tensor  # (real,) flat (segment · query) indices of what is no padding
    distance: Tensor  # (segment, query, key) how far back a key stands; negative where it may not be seen
    masks: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)  # those made so far: all layers share them

    def mask(self, window: int | None, key_heads: int, groups: int, like: Tensor) -> Tensor:
        """(segment · key head, query · group, key) what is added to scores: −inf where a key may not be seen."""
        kind = (window, key_heads, groups, like.dtype)
        if kind not in self.masks:
            hidden = self.distance < 0
            if window:
                hidden |= self.distance >= window
            added = like.new_zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
            self.masks[kind] = added.repeat_interleave(groups, 1).repeat_interleave(key_heads, 0)
        return self.masks[kind]


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
        levels.append(Level(query_at, key_at, real.flatten().nonzero().flatten(), distance))
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
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """(sequence, head, time, width) each → (sequence, time, head, width); without a layout, plain attention."""
    import torch

    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    watched = _WATCHED.get()
    if watched is not None:
        watched[int(module.layer_idx)] = Heads(query * scale, key, value)
    if layout is None:
        plain = need("transformers.integrations.sdpa_attention", "train").sdpa_attention_forward
        result: tuple[Tensor, None] = plain(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
        return result
    if others.get("softcap") is not None:
        raise ModelError("packed attention has no soft cap", remedy="use a model without attention soft-capping")
    sequences, heads, time, width = query.shape
    key_heads = key.shape[1]
    queries, keys, values = (part.transpose(1, 2).reshape(sequences * time, -1) for part in (query, key, value))
    parts = []
    for level in layout.levels:
        asked = _gather(queries, level.query_at, key_heads).unflatten(2, (-1, width)).flatten(1, 2)
        seen_keys, seen_values = (_gather(part, level.key_at, key_heads) for part in (keys, values))
        mask = level.mask(sliding_window, key_heads, heads // key_heads, queries)
        weights = torch.baddbmm(mask, asked, seen_keys.transpose(1, 2), alpha=scale).softmax(-1)
        if dropout:
            weights = torch.nn.functional.dropout(weights, dropout)
        attended = (weights @ seen_values).unflatten(0, (-1, key_heads)).unflatten(2, (level.query_at.shape[1], -1))
        parts.append(attended.transpose(1, 2).reshape(-1, heads * width).index_select(0, level.real_at))
    parts.append(queries.new_zeros(1, heads * width))
    found = torch.cat(parts).index_select(0, layout.found_at)
    return found.reshape(sequences, time, heads, width), None


def _gather(values: Tensor, at: Tensor, key_heads: int) -> Tensor:
    """(token, width of all heads) at (segment, position) → (segment · key head, position, its heads' width).

    Row by row: its gradient is several times faster than indexing's own on the CPU."""
    rows = values.index_select(0, at.flatten()).unflatten(0, at.shape)
    return rows.unflatten(2, (key_heads, -1)).transpose(1, 2).flatten(0, 1)


def _padded(rows: tuple[list[int], ...]) -> tuple[Tensor, Tensor]:
    """(row, longest) indices with 0 where padded, and where they are real."""
    import torch

    longest = max(map(len, rows))
    indices = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return indices, torch.arange(longest)[None, :] < lengths[:, None]
