"""Where a student lost: its figure beside its teacher's on parts of the test, by label, length and language.

In come a metric's rows of both; out come parts with a difference of its figure, the worst first. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from slmops.core.statistics import Reduce, Rows, paired_difference
from slmops.evaluation.summary import Slice

Kind = Literal["label", "length", "language"]
_FEWEST = 5  # rows of a part: of fewer a difference says nothing
_THIRDS = ("short", "middling", "long")


def slices(
    texts: Sequence[str],
    labels: Sequence[str],
    languages: Sequence[str],
    teacher: Rows,
    student: Rows,
    reduce: Reduce,
    seed: int,
) -> list[Slice]:
    """Parts of at least five rows, those first where most was lost. `labels` may be empty, and a language unknown."""
    found = []
    for kind, name, at in (*_by("label", labels), *_by_length(texts), *_by_language(languages)):
        if len(at) < _FEWEST:
            continue
        ours, theirs = student[at], teacher[at]
        apart = paired_difference(ours, theirs, reduce, seed=seed)
        before, after = (float(reduce(rows.sum(axis=0))) for rows in (theirs, ours))
        found.append(Slice(kind=kind, name=name, rows=len(at), teacher=before, student=after, difference=apart))
    return sorted(found, key=lambda part: part.difference.value)


def _by(kind: Kind, values: Sequence[str]) -> Iterator[tuple[Kind, str, list[int]]]:
    for value in sorted(set(values) - {""}):
        yield kind, value, [row for row, other in enumerate(values) if other == value]


def _by_language(languages: Sequence[str]) -> Iterator[tuple[Kind, str, list[int]]]:
    """Where there are several: that all are in one says nothing."""
    found = [(kind, f"in {language}", at) for kind, language, at in _by("language", languages) if len(at) >= _FEWEST]
    yield from found if len(found) > 1 else ()


def _by_length(texts: Sequence[str]) -> Iterator[tuple[Kind, str, list[int]]]:
    """Thirds of the test by how many characters a text has."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    for name, part in zip(_THIRDS, np.array_split(order, len(_THIRDS)), strict=True):
        if len(part):
            lengths = [len(texts[row]) for row in part]
            yield "length", f"{name} ({min(lengths):,} to {max(lengths):,} characters)", part.tolist()
