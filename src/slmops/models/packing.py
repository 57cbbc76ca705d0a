"""Shared-prefix packing: examples behind one copy of what they share, each seeing only its own path.

In come examples as paths of segments (instruction → message and answer → …); out go batches whose gradient equals
padded batches'. A segment attends to itself and its ancestors, positions restart after the parent, and only target
positions reach the output head. Knows no text, task, loss or teacher.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmops.models.tokenizer import Ids

if TYPE_CHECKING:
    from torch import Tensor


_ALIGNED = 32  # the time axis is padded to a multiple: for every new shape, oneDNN compiles its products anew

Path = tuple[Ids, ...]  # a segment's ids behind those of its ancestors, the root first


@dataclass(frozen=True)
class Example:
    """A row's segments from the shared root to its own last one; `learn` marks the last one's tokens to predict."""

    row: str
    path: Path
    learn: tuple[bool, ...]

    @property
    def answer(self) -> Ids:
        """What is learned of it."""
        return tuple(token for token, learned in zip(self.path[-1], self.learn, strict=True) if learned)

    @property
    def length(self) -> int:
        """How many tokens it has, with what it shares."""
        return sum(map(len, self.path))


@dataclass(frozen=True)
class Batch:
    """Packed sequences. A target is predicted from the hidden state at `target_at`, a flat (sequence · time) index."""

    ids: Tensor  # (sequence, time)
    positions: Tensor  # (sequence, time)
    segments: Tensor  # (sequence, time), −1 where padded
    parents: Tensor  # (sequence, segment), −1 at a root
    target_at: Tensor  # (target,)
    target_ids: Tensor  # (target,)
    target_row: Tensor  # (target,) index into `rows`
    target_offset: Tensor  # (target,) which token of the example's last segment
    rows: tuple[str, ...]
    paths: tuple[tuple[Path, ...], ...]  # of each sequence, its segments' paths in the order in which they lie there

    def first_targets(self) -> list[int]:
        """Which target is the first of each row, in the order of `rows`."""
        firsts: dict[int, int] = {}
        for target, row in enumerate(self.target_row.tolist()):
            firsts.setdefault(row, target)
        return list(firsts.values())


def shared_prefix(sequences: Sequence[Ids], at_least: int = 16) -> int:
    """How many first tokens all `sequences` share, or 0 where that is too few to be worth a segment."""
    if len(sequences) < 2:
        return 0
    first, last = min(sequences), max(sequences)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return length if length >= at_least else 0


def by_length(examples: Sequence[Example]) -> list[Example]:
    """Examples of one shared path together, the shortest first: neighbours then pad each other little."""
    return sorted(examples, key=lambda example: (example.path[:-1], len(example.path[-1]), example.row))


def pack(examples: Sequence[Example], max_tokens: int, sequences: int = 1) -> Iterator[Batch]:
    """Batches of at most `sequences` sequences of at most `max_tokens` tokens, in the examples' order; an example
    longer than that has a sequence of its own. Equal leading segments of a sequence are laid down once."""
    layouts: list[_Layout] = []
    layout = _Layout()
    for example in examples:
        if layout.tokens and layout.tokens + layout.extra(example) > max_tokens:
            layouts.append(layout)
            if len(layouts) == sequences:
                yield _batch(layouts)
                layouts = []
            layout = _Layout()
        layout.add(example)
    if layout.tokens:
        layouts.append(layout)
    if layouts:
        yield _batch(layouts)


class _Layout:
    """One sequence being filled: its segments, each with the ids, the parent and where it starts."""

    def __init__(self) -> None:
        self.tokens = 0
        self.segments: list[tuple[Ids, int, int, int]] = []  # ids, parent, start in the sequence, first position
        self.paths: list[Path] = []
        self.placed: dict[Path, int] = {}
        self.targets: list[tuple[int, int, str, int]] = []  # predicted from, id, row, offset

    def extra(self, example: Example) -> int:
        return sum(
            len(ids)
            for depth, ids in enumerate(example.path)
            if depth == len(example.path) - 1 or example.path[: depth + 1] not in self.placed
        )

    def add(self, example: Example) -> None:
        parent = -1
        for depth, ids in enumerate(example.path):
            last = depth == len(example.path) - 1
            known = None if last else self.placed.get(example.path[: depth + 1])
            if known is None:
                known = self._place(ids, parent)
                if not last:
                    self.placed[example.path[: depth + 1]] = known
            if last:
                self._target(example, known, parent)
            parent = known

    def _place(self, ids: Ids, parent: int) -> int:
        position = 0
        if parent >= 0:
            parent_ids, _, _, parent_position = self.segments[parent]
            position = parent_position + len(parent_ids)
        self.segments.append((ids, parent, self.tokens, position))
        self.paths.append((*(self.paths[parent] if parent >= 0 else ()), ids))
        self.tokens += len(ids)
        return len(self.segments) - 1

    def _target(self, example: Example, segment: int, parent: int) -> None:
        ids, _, start, _ = self.segments[segment]
        for offset, (token, learned) in enumerate(zip(ids, example.learn, strict=True)):
            if not learned:
                continue
            if offset:
                before = start + offset - 1
            elif parent >= 0:
                before = self.segments[parent][2] + len(self.segments[parent][0]) - 1
            else:
                continue  # nothing stands before the first token of all
            self.targets.append((before, token, example.row, offset))


def _batch(layouts: list[_Layout]) -> Batch:
    import torch

    time = _ALIGNED * math.ceil(max(layout.tokens for layout in layouts) / _ALIGNED)
    segment_count = max(len(layout.segments) for layout in layouts)
    ids = torch.zeros(len(layouts), time, dtype=torch.long)
    positions = torch.zeros_like(ids)
    segments = torch.full_like(ids, -1)
    parents = torch.full((len(layouts), segment_count), -1, dtype=torch.long)
    rows: dict[str, int] = {}
    targets: list[tuple[int, int, int, int]] = []
    for sequence, layout in enumerate(layouts):
        for index, (tokens, parent, start, position) in enumerate(layout.segments):
            span = slice(start, start + len(tokens))
            ids[sequence, span] = torch.tensor(tokens, dtype=torch.long)
            positions[sequence, span] = torch.arange(position, position + len(tokens))
            segments[sequence, span] = index
            parents[sequence, index] = parent
        for before, token, row, offset in layout.targets:
            targets.append((sequence * time + before, token, rows.setdefault(row, len(rows)), offset))
    columns = torch.tensor(targets, dtype=torch.long).reshape(-1, 4).T.contiguous()
    paths = tuple(tuple(layout.paths) for layout in layouts)
    return Batch(ids, positions, segments, parents, columns[0], columns[1], columns[2], columns[3], tuple(rows), paths)
