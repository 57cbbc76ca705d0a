"""Finds messages that stand in the data twice, word for word or nearly. In come records, out go pairs of them.

Near means that the sets of character 5-grams of two texts, normalised, have a Jaccard similarity of 0.8 or more.
Exact over all pairs and yet quick, because two similar sets must share one of their few rarest members (prefix
filtering: Bayardo, Ma, Srikant, Scaling up all pairs similarity search, WWW 2007). Knows no task and no config.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slmops.core.errors import DataError
from slmops.tasks.types import Record

NEAR = 0.8
_GRAM = 5


@dataclass(frozen=True)
class Pair:
    """Two records whose texts are similar; 1 means equal but for case, spaces and punctuation."""

    left: Record
    right: Record
    similarity: float

    def __str__(self) -> str:
        return f"{self.left.source.place} and {self.right.source.place} ({self.similarity:.2f})"

    @property
    def same(self) -> bool:
        """Whether the texts are equal but for case, spaces and punctuation."""
        return normalise(_text(self.left)) == normalise(_text(self.right))


def normalise(text: str) -> str:
    """`text` without case, punctuation, symbols and doubled spaces; as it is, where nothing else would be left."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    letters = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in folded)
    return " ".join(letters.split()) or text.strip()


def similar_within(records: Sequence[Record], near: float = NEAR) -> list[Pair]:
    """All pairs of `records` whose similarity is `near` or more, in order."""
    shingles = _shingles(records)
    matches = _match(shingles, shingles, near)
    return [Pair(records[a], records[b], similarity) for a, b, similarity in matches if a < b]


def similar_across(left: Sequence[Record], right: Sequence[Record], near: float = NEAR) -> list[Pair]:
    """All pairs of one of `left` and one of `right` whose similarity is `near` or more, in order."""
    matches = _match(_shingles(left), _shingles(right), near)
    return [Pair(left[a], right[b], similarity) for a, b, similarity in matches]


def check_splits(train: Sequence[Record], test: Sequence[Record]) -> list[Pair]:
    """Refuses a test that shares messages with `train`; returns the pairs that are only similar.

    Raises:
        DataError: the same message stands in both, but for case, spaces and punctuation.
    """
    pairs = similar_across(train, test)
    same = [pair for pair in pairs if pair.same]
    if same:
        places = ", ".join(map(str, same[:3])) + (", …" if len(same) > 3 else "")
        raise DataError(
            f"found {len(same)} messages in both, expected none: {places}",
            where=f"{same[0].left.source.file}, {same[0].right.source.file}",
            remedy=f"remove them from {same[0].left.source.file}",
        )
    return pairs


def repeated_ngrams(records: Sequence[Record], n: int = 5) -> list[tuple[str, int]]:
    """Runs of `n` words (normalised) that stand in more than one record, with in how many; most frequent first."""
    counts: Counter[str] = Counter()
    for record in records:
        words = normalise(_text(record)).split()
        counts.update({" ".join(words[start : start + n]) for start in range(len(words) - n + 1)})
    return [
        (words, count) for words, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count > 1
    ]


def _match(left: Sequence[set[str]], right: Sequence[set[str]], near: float) -> Iterable[tuple[int, int, float]]:
    frequency = Counter(shingle for shingles in (*left, *right) for shingle in shingles)

    def rarest(shingles: set[str]) -> list[str]:
        ordered = sorted(shingles, key=lambda shingle: (frequency[shingle], shingle))
        must_share = math.ceil(near * len(ordered) - 1e-9)  # at least, of one's own, with any set so similar
        return ordered[: len(ordered) - must_share + 1]

    holders: dict[str, list[int]] = {}
    for row, shingles in enumerate(right):
        for shingle in rarest(shingles):
            holders.setdefault(shingle, []).append(row)
    for row, shingles in enumerate(left):
        for other in sorted({holder for shingle in rarest(shingles) for holder in holders.get(shingle, ())}):
            shared = len(shingles & right[other])
            similarity = shared / (len(shingles) + len(right[other]) - shared)
            if similarity >= near:
                yield row, other, similarity


def _shingles(records: Sequence[Record]) -> list[set[str]]:
    texts = [normalise(_text(record)) for record in records]
    return [{text[start : start + _GRAM] for start in range(max(1, len(text) - _GRAM + 1))} for text in texts]


def _text(record: Record) -> str:
    return str(record.inputs["text"])
