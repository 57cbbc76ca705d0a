"""Caches of several teachers made into one: at each target the mean of what all say, or what the surest says of a row.

In come caches of the same rows in the same tokens, out goes another like them. Who writes a row's answer in other bytes
is not heard of it. What a cache leaves out stays in the mass of all others. Knows no model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from slmops.training.target_codes import Codes, decode, encode_likeliest
from slmops.training.targets import Cache, read_cache, write_cache


def combine_targets(folders: Sequence[Path], out: Path, k: int, how: Literal["average", "surest"]) -> None:
    """Writes the cache that teachers give together, `k` tokens a target."""
    caches = [read_cache(folder) for folder in folders]
    spans = [_spans(cache) for cache in caches]
    codes, first, total = [], {}, 0
    for row in sorted(spans[0]):
        heard = [place for place, cache in enumerate(caches) if row not in cache.unlike] or [0]
        said = {place: caches[place].codes[spans[place][row]] for place in heard}
        surest = max(heard, key=lambda place: caches[place].sure.get(row, 0.0))
        found = encode_likeliest(_mean(list(said.values())), k) if how == "average" else _widened(said[surest], k)
        codes.append(found)
        first[row] = total
        total += len(found)
    rows = {row: [first[row], *caches[0].rows[row][1:]] for row in sorted(first)}
    write_cache(out, Cache(np.concatenate(codes), caches[0].temperature, rows))


def _spans(cache: Cache) -> dict[str, slice]:
    """Where each row's targets stand."""
    begins = sorted((kept[0], row) for row, kept in cache.rows.items())
    ends = [*begins, (len(cache.codes), "")]
    return {row: slice(begin, end) for (begin, row), (end, _) in pairwise(ends)}


def _mean(said: Sequence[Codes]) -> list[Mapping[int, float]]:
    means: list[Mapping[int, float]] = []
    for target in range(len(said[0])):
        mean: dict[int, float] = defaultdict(float)
        for codes in said:
            ids, logprobs = decode(codes[target])
            for id, probability in zip(ids.tolist(), np.exp(logprobs).tolist(), strict=True):
                mean[id] += probability / len(said)
        means.append({id: value for id, value in mean.items() if value > 0})
    return means


def _widened(codes: Codes, k: int) -> Codes:
    ids, logprobs = decode(codes)
    targets = [
        {id: float(np.exp(value)) for id, value in zip(of, values, strict=True) if value > -np.inf}
        for of, values in zip(ids.tolist(), logprobs.tolist(), strict=True)
    ]
    return encode_likeliest(targets, k)
