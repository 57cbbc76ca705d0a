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
from slmops.training.targets import Index, read_cache, write_cache


def combine_targets(folders: Sequence[Path], out: Path, k: int, how: Literal["average", "surest"]) -> None:
    """Writes the cache that teachers give together, `k` tokens a target."""
    caches = [read_cache(folder) for folder in folders]
    spans = [_spans(codes, index) for codes, index in caches]
    made, first, total = [], {}, 0
    for row in sorted(spans[0]):
        heard = [place for place, (_, index) in enumerate(caches) if row not in index.unlike] or [0]
        if how == "surest":
            heard = [max(heard, key=lambda place: caches[place][1].sure.get(row, 0.0))]
        made.append(encode_likeliest(_mean([caches[place][0][spans[place][row]] for place in heard]), k))
        first[row] = total
        total += len(made[-1])
    index = caches[0][1]
    rows = {row: [first[row], *index.rows[row][1:]] for row in sorted(first)}
    write_cache(out, np.concatenate(made), Index(index.temperature, rows))


def _spans(codes: Codes, index: Index) -> dict[str, slice]:
    """Where each row's targets stand."""
    begins = sorted((kept[0], row) for row, kept in index.rows.items())
    ends = [*begins, (len(codes), "")]
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
