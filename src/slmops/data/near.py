"""Finds texts that stand in the data twice, word for word or nearly, in a thousand rows or in millions.

In comes a stream of texts, out go pairs of row numbers. Two texts are near if their sets of character 5-grams,
normalised, have a Jaccard similarity of `near` or more; or if they are long (60 characters) and at most 8 % of the
characters would have to be edited: typing errors all over a text break many grams, and another number in a short one is
another text. Up to 5,000 rows all pairs of the first kind are found; beyond, and for the second kind, candidates come
from MinHash signatures on disk, and every one is compared as it stands, so that no pair is listed that is none. A text
that is the same again is paired with the first row that has it, and only that one is compared with others. What nearly
all texts begin or end with, if it is longer than a sentence (a system prompt, a document that all ask about), makes
none of them alike, and is not compared. Knows no record, label or file.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from slmops.core.files import full_disk_explained
from slmops.data.grams import edits, grams, jaccard, normalise, similar_sets
from slmops.data.signatures import Signatures
from slmops.data.texts import Texts

NEAR = 0.8
EDITED = 0.08  # 5 % of a text's characters, mistyped, and what normalising makes of them
_LONG = 60  # characters
_MISTYPED = 0.4  # no 8 % of edits break more grams than leave this similarity: five each
_EXACTLY = 5_000  # rows that are compared with one another, all with all
_BATCH = 4096
_FRAMED = 0.8  # of all texts: nearly all
_FEWEST = 20  # texts of which that can be said
_FRAME = 100  # characters: what is shorter is a sentence that many write alike
_LOOKED_AT = 2_000

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class Match:
    """Two rows that are near, the earlier first, and the Jaccard similarity of their grams: 1 for the same text."""

    left: int
    right: int
    similarity: float


def similar_rows(texts: Iterable[str], near: float = NEAR, on_progress: OnProgress = lambda share: None) -> list[Match]:
    """All pairs of texts that are near, in order; of the same text, those with the first row that has it.

    Of thousands of rows that are all near one another, each is paired with some. `on_progress` hears how much of the
    comparing is done. Takes some 300 bytes a row of temporary disk space, and the texts' own.
    """
    with NearIndex() as index:
        for text in texts:
            index.add(text)
        first = index.first_rows()
        again = np.flatnonzero(first != np.arange(len(first)))
        same = [Match(int(first[row]), int(row), 1.0) for row in again]
        return sorted([*same, *index.matches(first, near, on_progress)], key=lambda match: (match.left, match.right))


class NearIndex:
    """Texts to be compared, added one at a time, in a temporary folder in `parent`, or where such folders are by
    default: memory, on some machines."""

    def __init__(self, parent: Path | None = None) -> None:
        self._open = ExitStack()
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix=".slmops-near-", dir=parent)))
        self._texts, self._signatures = Texts(folder), Signatures(folder)
        self._open.callback(self._texts.close)
        self._open.callback(self._signatures.close)
        self._folder, self._batch = folder, list[str]()

    def __enter__(self) -> NearIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, text: str) -> None:
        """Takes the next row."""
        self._batch.append(normalise(text))
        if len(self._batch) == _BATCH:
            self._keep_batch()

    def first_rows(self) -> NDArray[np.int64]:
        """For each row, the first whose text is the same, normalised."""
        self._keep_batch()
        with full_disk_explained(self._folder):
            self._texts.flush()
        return self._texts.first_rows()

    def matches(self, first: NDArray[np.int64], near: float, on_progress: OnProgress) -> Iterator[Match]:
        """Pairs of different texts that are near, each text at its first row."""
        chosen = first == np.arange(len(first))
        rows = np.flatnonzero(chosen)
        own = _without_frame([self._texts[row] for row in rows[:: max(1, len(rows) // _LOOKED_AT)].tolist()])
        exact = self._all_pairs(rows, near, own) if len(first) <= _EXACTLY else {}
        yield from exact.values()
        with full_disk_explained(self._folder):
            self._signatures.add([own(text) for text in batch] for batch in self._texts.batches(_BATCH))
        place, text, held = -1, "", set[str]()
        for left, right in self._signatures.candidates(chosen, on_progress).tolist():
            if left != place:
                place, text = left, own(self._texts[left])
                held = grams(text)
            if (left, right) not in exact:
                other = own(self._texts[right])
                similarity = jaccard(held, grams(other))
                if similarity >= near or (similarity >= _MISTYPED and _mistyped(text, other)):
                    yield Match(left, right, similarity)

    def _all_pairs(
        self, rows: NDArray[np.int64], near: float, own: Callable[[str], str]
    ) -> dict[tuple[int, int], Match]:
        sets = [grams(own(self._texts[row])) for row in rows.tolist()]
        found = {}
        for a, b, similarity in similar_sets(sets, sets, near):
            if a < b:
                left, right = int(rows[a]), int(rows[b])
                found[left, right] = Match(left, right, similarity)
        return found

    def _keep_batch(self) -> None:
        if self._batch:
            with full_disk_explained(self._folder):
                self._texts.add(self._batch)
            self._batch = []


def _without_frame(texts: Sequence[str]) -> Callable[[str], str]:
    """Takes off a text what nearly all of `texts` begin and end with; one that says nothing else stays."""
    if len(texts) < _FEWEST:
        return lambda text: text
    start = _shared_start(texts)
    end = _shared_start([text.removeprefix(start)[::-1] for text in texts])[::-1]
    return lambda text: text.removeprefix(start).removesuffix(end) or text


def _shared_start(texts: Sequence[str]) -> str:
    """The longest beginning, of whole words, that nearly all have, if it is long: of texts in order, first and last of
    as many."""
    ordered = sorted(texts)
    reach = math.ceil(_FRAMED * len(ordered)) - 1
    pairs = zip(ordered, ordered[reach:], strict=False)
    longest = max((os.path.commonprefix(pair) for pair in pairs), key=len)  # noqa: RUF071  of characters, not of paths
    return longest[: longest.rfind(" ") + 1] if len(longest) >= _FRAME else ""


def _mistyped(left: str, right: str) -> bool:
    shorter, longer = sorted((len(left), len(right)))
    room = EDITED * longer
    return shorter >= _LONG and longer - shorter <= room and edits(left, right) <= room
