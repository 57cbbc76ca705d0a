"""Many answers written at once by a torch model: its weights are read once a token for all of them.

In come requests and how many tokens each may have, out go whole answers in the requests' order. What all prompts share
is computed once. Prompts are padded at the left, then all sequences go on token by token; one that is done leaves the
batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from slmops.core.errors import need
from slmops.models.packing import shared_prefix
from slmops.runtimes.decoding import Decoding, Logits, decoding
from slmops.runtimes.types import Chunk, Ids, Request, Written, gather

if TYPE_CHECKING:
    from torch import Tensor, nn

_ROWS = 64
_TOKENS = 16_384  # of all sequences in a batch together: what the key-value cache may hold


def write_together(
    model: nn.Module, requests: Sequence[Request], rooms: Sequence[int], ends: frozenset[int]
) -> list[Written]:
    """The answers to `requests`, each of at most its room's tokens."""
    written: dict[int, Written] = {}
    for rows in _batches(requests, rooms):
        written |= zip(rows, _write([requests[r] for r in rows], [rooms[r] for r in rows], model, ends), strict=True)
    return [written[row] for row in range(len(requests))]


def _batches(requests: Sequence[Request], rooms: Sequence[int]) -> Iterator[list[int]]:
    """Rows of like length, few enough for the cache."""
    rows: list[int] = []
    for row in sorted(range(len(requests)), key=lambda row: len(requests[row].prompt)):
        longest = len(requests[row].prompt) + max([rooms[row], *(rooms[other] for other in rows)])
        if rows and (len(rows) == _ROWS or longest * (len(rows) + 1) > _TOKENS):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _write(requests: Sequence[Request], rooms: Sequence[int], model: nn.Module, ends: frozenset[int]) -> list[Written]:
    prompts = [request.prompt for request in requests]
    shared = min(shared_prefix(prompts), min(map(len, prompts)) - 1)
    if getattr(model.config, "sliding_window", None):
        shared = 0  # a window counts the padding that would stand behind what is shared
    batch = _Batch(model, prompts[0][:shared])
    writings = [
        decoding(request, room, request.prompt[shared:], shared, ends)
        for request, room in zip(requests, rooms, strict=True)
    ]
    chunks: list[list[Chunk]] = [[] for _ in requests]
    waiting: dict[int, Ids] = {}
    for row, writing in enumerate(writings):
        _advance(row, writing, None, chunks, waiting)
    going = list(range(len(requests)))  # the rows that the cache holds
    while waiting:
        batch.keep([place for place, row in enumerate(going) if row in waiting])
        going = [row for row in going if row in waiting]
        fed = {row: ids if batch.is_new else ids[:1] for row, ids in waiting.items()}
        logits = batch.read([fed[row] for row in going])
        for row, line in zip(going, logits, strict=True):
            waiting[row] = waiting[row][len(fed[row]) :]
            if not waiting[row]:
                del waiting[row]
                _advance(row, writings[row], line, chunks, waiting)
    return [gather(of_row) for of_row in chunks]


def _advance(
    row: int, writing: Decoding, logits: Logits | None, chunks: list[list[Chunk]], waiting: dict[int, Ids]
) -> None:
    """Lets a row write until it needs a model again, or is done."""
    for said in _sent(writing, logits):
        if isinstance(said, Chunk):
            chunks[row].append(said)
        else:
            waiting[row] = said
            return


def _sent(writing: Decoding, logits: Logits | None) -> Iterator[Chunk | Ids]:
    while True:
        try:
            yield writing.send(logits)
        except StopIteration:
            return
        logits = None


class _Batch:
    """Sequences being read side by side, with what they share computed once."""

    def __init__(self, model: nn.Module, prefix: Ids) -> None:
        torch = need("torch", "train")
        self._model = model
        self._cache = need("transformers", "train").DynamicCache()
        self._mask: Tensor = torch.ones(1, len(prefix), dtype=torch.long)  # (sequence, time), 0 where padded
        self._rows: int | None = None
        self.is_new = True  # nothing but the prefix was read
        if prefix:
            with torch.inference_mode():
                model(input_ids=torch.tensor([prefix]), past_key_values=self._cache, use_cache=True, logits_to_keep=1)

    def keep(self, places: list[int]) -> None:
        """Lets all sequences go but those at `places`; the first time, makes as many of the prefix."""
        import torch

        if self._rows is None:
            if self._mask.shape[1]:
                self._cache.batch_repeat_interleave(len(places))
            self._mask = self._mask.repeat(len(places), 1)
        elif len(places) < self._rows:
            at = torch.tensor(places)
            self._cache.batch_select_indices(at)
            self._mask = self._mask[at]
        self._rows = len(places)

    def read(self, fed: Sequence[Ids]) -> list[Logits]:
        """Feeds each sequence its ids; the (vocab,) logits after the last of each."""
        import torch

        self.is_new = False
        width = max(map(len, fed))
        ids = torch.tensor([(0,) * (width - len(line)) + line for line in fed])
        new = torch.tensor([[0] * (width - len(line)) + [1] * len(line) for line in fed])
        self._mask = torch.cat([self._mask, new], 1)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -width:]
        with torch.inference_mode():
            output = self._model(
                input_ids=ids,
                attention_mask=self._mask,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return list(output.logits[:, -1].float().numpy())
