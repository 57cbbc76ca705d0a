"""Finds records that say the same, word for word or nearly. In come records, out go pairs of them.

What is near, and how it is found, is told in `near.py`. Across two sets all pairs of a Jaccard similarity of 0.8 or
more are found. Knows no task and no config.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from slmops.core.errors import DataError
from slmops.data.grams import grams, normalise, similar_sets
from slmops.data.near import NEAR, similar_rows
from slmops.data.texts import digest
from slmops.tasks.types import Record


@dataclass(frozen=True)
class Pair:
    """Two records whose texts are similar; 1 means equal but for case, spaces and punctuation."""

    left: Record
    right: Record
    similarity: float


def similar_within(records: Sequence[Record], near: float = NEAR) -> list[Pair]:
    """All pairs of `records` that are near, in order; those of the same text with the first that has it."""
    matches = similar_rows((record.text for record in records), near)
    return [Pair(records[match.left], records[match.right], match.similarity) for match in matches]


def similar_across(left: Sequence[Record], right: Sequence[Record], near: float = NEAR) -> list[Pair]:
    """All pairs of one of `left` and one of `right` whose similarity is `near` or more, in order."""
    of_left, of_right = ([grams(normalise(record.text)) for record in records] for records in (left, right))
    return [Pair(left[a], right[b], similarity) for a, b, similarity in similar_sets(of_left, of_right, near)]


def check_splits(train: Sequence[Record], test: Sequence[Record]) -> None:
    """Refuses a test that shares messages with `train`.

    Raises:
        DataError: the same message stands in both, but for case, spaces and punctuation.
    """
    learned = {digest(normalise(record.text)): record for record in reversed(train)}  # the first of equals stays
    same = [(learned[held], record) for record in test if (held := digest(normalise(record.text))) in learned]
    if same:
        places = [f"{ours.source.place} and {theirs.source.place}" for ours, theirs in same[:3]]
        more = ", …" if len(same) > 3 else ""
        file, other = (record.source.file for record in same[0])
        raise DataError(
            f"found {len(same)} messages in both, expected none: {', '.join(places)}{more}",
            where=f"{file}, {other}",
            remedy=f"remove them from {file}",
        )


def repeated_ngrams(records: Sequence[Record], n: int = 5) -> list[tuple[str, int]]:
    """Runs of `n` words (normalised) that stand in more than one record, with in how many; most frequent first."""
    counts: Counter[str] = Counter()
    for record in records:
        words = normalise(record.text).split()
        counts.update({" ".join(words[start : start + n]) for start in range(len(words) - n + 1)})
    return [
        (words, count) for words, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count > 1
    ]
