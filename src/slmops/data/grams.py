"""How alike two texts are: character 5-grams of what is left without case and punctuation, and edits of characters.

In come texts, out go numbers. Exact over all pairs of a few thousand texts, because two similar sets must share one of
their few rarest members (prefix filtering: Bayardo, Ma, Srikant, Scaling up all pairs similarity search, WWW 2007).
Knows no record, no file and no index.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

GRAM = 5
_PREFIX = 6  # rare grams that two sets must share before they are compared


class _Letters(dict[int, str]):
    """For `str.translate`: letters, marks and digits stay, all else becomes a space. Remembers what it looked up."""

    def __missing__(self, point: int) -> str:
        char = chr(point)
        self[point] = char if unicodedata.category(char)[0] in "LMN" else " "
        return self[point]


_LETTERS = _Letters()


def normalise(text: str) -> str:
    """`text` without case, punctuation, symbols and doubled spaces; as it is, where nothing else would be left."""
    folded = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.translate(_LETTERS).split()) or text.strip()


def grams(normalised: str) -> set[str]:
    """The character 5-grams of a text; a shorter text is its only gram."""
    return {normalised[start : start + GRAM] for start in range(max(1, len(normalised) - GRAM + 1))}


def jaccard(left: set[str], right: set[str]) -> float:
    """The share of grams that both have, of those that one has."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


def edits(left: str, right: str) -> int:
    """How many characters must be put in, taken out or exchanged (Levenshtein), by Myers' bit vectors (JACM 1999)."""
    if len(left) < len(right):
        left, right = right, left
    if not right:
        return len(left)
    places: dict[str, int] = {}
    for place, char in enumerate(right):
        places[char] = places.get(char, 0) | 1 << place
    every = (1 << len(right)) - 1
    last = 1 << len(right) - 1
    more, fewer, distance = every, 0, len(right)
    for char in left:
        same = places.get(char, 0) | fewer
        zero = ((same & more) + more ^ more) | same
        up, down = fewer | ~(zero | more) & every, more & zero
        distance += bool(up & last) - bool(down & last)
        up, down = (up << 1 | 1) & every, down << 1 & every
        more, fewer = down | ~(zero | up) & every, up & zero
    return distance


def similar_sets(left: Sequence[set[str]], right: Sequence[set[str]], near: float) -> Iterator[tuple[int, int, float]]:
    """(row of `left`, row of `right`, similarity) wherever it is `near` or more, in order.

    Of sets that share t grams, the rarest |set| − t + k share k: only such pairs are compared (k-prefixes: Wang et al.
    2012, "Can we beat the prefix filtering?")."""
    frequency = Counter(gram for held in (*left, *right) for gram in held)

    def must_share(held: set[str]) -> int:
        return math.ceil(near * len(held) - 1e-9)  # at least, with any set so similar

    def rarest(held: set[str]) -> list[str]:
        ordered = sorted(held, key=lambda gram: (frequency[gram], gram))
        return ordered[: len(ordered) - must_share(held) + _PREFIX]

    holders: dict[str, list[int]] = {}
    for row, held in enumerate(right):
        for gram in rarest(held):
            holders.setdefault(gram, []).append(row)
    at_least = [must_share(held) for held in right]
    for row, held in enumerate(left):
        own = must_share(held)
        shared = Counter(chain.from_iterable(holders.get(gram, ()) for gram in rarest(held)))
        for other in sorted(shared):
            if shared[other] < min(_PREFIX, max(own, at_least[other])):
                continue
            if own > len(right[other]) or at_least[other] > len(held):
                continue  # their sizes alone tell them apart
            similarity = jaccard(held, right[other])
            if similarity >= near:
                yield row, other, similarity
