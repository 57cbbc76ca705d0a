"""Counts the labels of a file and says what is out of balance, misspelt, or in one file only.

In come labels, out go counts and findings. Knows no text.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from slmops.data.findings import Finding, Places

FEW_ROWS = 10  # of a label: fewer are hardly learned, and never measured
_UNBALANCED = 20  # times as many rows of one label as of another
_TOO_MANY = 10_000  # different ones: this is no column of labels
_SEPARATORS = re.compile(r"[\W_]+")


class LabelTally:
    """Counts labels, up to a number of different ones."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self._without, self._uncounted = Places(), Places()

    def add(self, place: str, label: str | None) -> None:
        if label is None:
            self._without.add(place)
        elif label in self.counts or len(self.counts) < _TOO_MANY:
            self.counts[label] += 1
        else:
            self._uncounted.add(place)

    def findings(self, file: str) -> Iterator[Finding]:
        """What is wrong with the labels of a file that has any."""
        if not self.counts:
            return
        remedy = "label them, or move them to a file of theirs"
        yield from self._without.finding("warning", "unlabelled", f"{file}: rows without a label", remedy)
        what = f"{file}: labels beyond the first {_TOO_MANY:,} different ones"
        remedy = "name the column of the labels: --field label=…"
        yield from self._uncounted.finding("error", "too-many-labels", what, remedy)
        few, alike = Places(), Places()
        for label, count in self.counts.most_common():
            if count < FEW_ROWS:
                few.add(f"{label}: {count}")
        what = f"{file}: labels with fewer than {FEW_ROWS} rows"
        yield from few.finding("warning", "few-rows", what, "add rows of them")
        for spellings in self._alike():
            alike.add(", ".join(f"{label}: {self.counts[label]}" for label in spellings))
        remedy = "write each in one way: they are learned as different labels"
        yield from alike.finding("warning", "similar-labels", f"{file}: labels that differ in spelling only", remedy)
        unbalanced = Places()
        (most, many), (least, rare) = self.counts.most_common()[0], self.counts.most_common()[-1]
        if many > _UNBALANCED * rare:
            unbalanced.add(f"{most}: {many}, {least}: {rare}")
        remedy = "add rows of the rare one, and judge by macro F1"
        yield from unbalanced.finding("warning", "unbalanced", f"{file}: unbalanced", remedy)

    def _alike(self) -> list[list[str]]:
        spellings: defaultdict[str, list[str]] = defaultdict(list)
        for label in self.counts:
            spellings[_SEPARATORS.sub("", label.casefold()) or label].append(label)
        return [labels for labels in spellings.values() if len(labels) > 1]


def compare_labels(one: str, mine: Counter[str], other: str, theirs: Counter[str]) -> Iterator[Finding]:
    """Labels that only one of two files has."""
    lone = Places()
    if mine and theirs:
        for label in sorted(mine.keys() - theirs.keys()):
            lone.add(f"{label!r} in {one} only")
        for label in sorted(theirs.keys() - mine.keys()):
            lone.add(f"{label!r} in {other} only")
    remedy = "one spelling; rows in both"
    yield from lone.finding("warning", "labels-apart", f"{one} and {other}: labels in one only", remedy)
