"""Finds texts that stand twice in the files, word for word or nearly, within one file or in two.

In come texts file by file with their lines and answers, out go findings and the similar pairs. Takes 20 bytes of memory
a row; the texts wait on disk. The same text may have different answers: that is told apart. Knows no task.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from slmops.data.findings import KEPT, Finding, Places, Severity, SimilarTexts
from slmops.data.near import NEAR, NearIndex, OnProgress
from slmops.data.scan import Row, Scan

_Rows = NDArray[np.int64]
_NO_ANSWER = 0


class Repeats:
    """The rows of all files, in order; to be closed, for it keeps texts in a temporary folder."""

    def __init__(self) -> None:
        self._index = NearIndex()
        self._scans: list[Scan] = []
        self._starts: list[int] = []
        self._lines, self._answers = array("Q"), array("q")
        self.similar: list[SimilarTexts] = []

    def __enter__(self) -> Repeats:
        return self

    def __exit__(self, *raised: object) -> None:
        self._index.__exit__(None, None, None)

    def begin(self, scan: Scan) -> None:
        """The rows that follow are of this file."""
        self._scans.append(scan)
        self._starts.append(len(self._lines))

    def add(self, row: Row) -> None:
        self._index.add(row.text)
        self._lines.append(row.line)
        self._answers.append(_NO_ANSWER if row.answer is None else hash(row.answer) or 1)

    def findings(self, on_progress: OnProgress) -> Iterator[Finding]:
        """The same texts and those that are near, errors and warnings."""
        first = self._index.first_rows()
        yield from self._same(first)
        found: defaultdict[tuple[int, int], Places] = defaultdict(Places)
        for match in self._index.matches(first, NEAR, on_progress):
            left, right = self._file_of(match.left), self._file_of(match.right)
            pair = f"{self._place(match.left)} and {self._place(match.right)} ({match.similarity:.2f})"
            found[left, right].add(pair)
            if len(self.similar) < KEPT:
                self.similar.append(SimilarTexts(self._place(match.left), self._place(match.right), match.similarity))
        for (left, right), pairs in sorted(found.items()):
            yield from self._near(left, right, pairs)

    def _near(self, left: int, right: int, pairs: Places) -> Iterator[Finding]:
        name = self._name(left)
        if left == right:
            what = f"{name}: nearly the same text again"
            remedy = "slmops data clean --near-duplicates drop keeps one of each; slmops data split, all in one split"
            yield from pairs.finding("warning", "near-duplicates", what, remedy)
        else:
            what = f"{name} and {self._name(right)}: nearly the same texts"
            remedy = "look whether they were copied: slmops data split keeps what is similar in one split"
            yield from pairs.finding("warning", "near-duplicates-across", what, remedy)

    def _same(self, first: _Rows) -> Iterator[Finding]:
        again = np.bincount(first, minlength=len(first))[first] > 1 if len(first) else np.zeros(0, bool)
        ends = [*self._starts[1:], len(first)]
        rows = [np.flatnonzero(again[start:end]) + start for start, end in zip(self._starts, ends, strict=True)]
        firsts = [np.unique(first[mine], return_index=True) for mine in rows]
        for file, mine in enumerate(rows):
            texts, at = firsts[file]
            kept = mine[at][np.searchsorted(texts, first[mine])]  # for each row, the first of this file with its text
            yield from self._same_within(file, kept[kept != mine], mine[kept != mine])
        for one, other in combinations(range(len(rows)), 2):
            _, left, right = np.intersect1d(firsts[one][0], firsts[other][0], return_indices=True)
            yield from self._same_across(
                one, rows[one][firsts[one][1][left]], other, rows[other][firsts[other][1][right]]
            )

    def _same_within(self, file: int, left: _Rows, right: _Rows) -> Iterator[Finding]:
        differ = self._differ(left, right)
        name, (answers, severity) = self._name(file), self._answers_of(file)
        what = f"{name}: the same text with different {answers}"
        remedy = "decide which is right for each; slmops data clean --conflicts drop leaves them out"
        yield from self._pairs(left[differ], right[differ]).finding(severity, "conflicting", what, remedy)
        remedy = "slmops data clean keeps one of each: a repeated text counts more than once"
        again = self._pairs(left[~differ], right[~differ])
        yield from again.finding("warning", "duplicates", f"{name}: the same text again", remedy)

    def _same_across(self, one: int, left: _Rows, other: int, right: _Rows) -> Iterator[Finding]:
        names = f"{self._name(one)} and {self._name(other)}"
        remedy = f"remove them from {self._name(one)}, or split anew: slmops data split"
        pairs = self._pairs(left, right)
        yield from pairs.finding("error", "duplicates-across", f"{names}: texts in both", remedy)
        differ = self._differ(left, right)
        answers, severity = self._answers_of(one)
        what = f"{names}: the same text with different {answers}"
        remedy = "decide which is right for each"
        yield from self._pairs(left[differ], right[differ]).finding(severity, "conflicting-across", what, remedy)

    def _differ(self, left: _Rows, right: _Rows) -> NDArray[np.bool_]:
        answers = np.frombuffer(self._answers, np.int64)
        mine, theirs = answers[left], answers[right]
        return np.asarray((mine != theirs) & (mine != _NO_ANSWER) & (theirs != _NO_ANSWER))

    def _pairs(self, left: _Rows, right: _Rows) -> Places:
        places = Places()
        for one, other in zip(left[:KEPT].tolist(), right[:KEPT].tolist(), strict=True):
            places.add(f"{self._place(one)} and {self._place(other)}")
        places.count = len(left)
        return places

    def _file_of(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def _place(self, row: int) -> str:
        return self._scans[self._file_of(row)].place(self._lines[row])

    def _name(self, file: int) -> str:
        return str(self._scans[file].path)

    def _answers_of(self, file: int) -> tuple[str, Severity]:
        """What answers are called, and how bad it is if they differ: one of two labels is wrong, perhaps no answer."""
        return ("labels", "error") if self._scans[file].labelled else ("answers", "warning")
