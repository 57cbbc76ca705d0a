"""Keeps labelled rows as long as they are few enough, and says whose labels look wrong.

In come rows of all files, out go a finding for each file and the list of suspects. What was not done, and why, is told
in notes. Knows no model: see `label_errors`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from slmops.core.errors import MissingExtraError
from slmops.data.findings import KEPT, Finding, Places, Suspect
from slmops.data.label_errors import KNOWS, doubt_labels
from slmops.data.looks import hide
from slmops.data.scan import Row, Scan

DOUBTED_AT_MOST = 40_000_000  # characters × labels: some 25 s
_LEAST_LABELS = 8  # with fewer, it is counting n-grams that takes the time


class _Labelled(NamedTuple):
    scan: Scan
    line: int
    text: str
    label: str


class Suspects:
    """The labelled rows of all files."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._rows, self._labels = list[_Labelled](), set[str]()
        self._labelled, self._characters = 0, 0
        self.listed, self.notes = list[Suspect](), list[str]()

    def add(self, scan: Scan, row: Row) -> None:
        if row.answer is None or not scan.labelled:
            return
        self._labelled += 1
        self._characters += len(row.text)
        if self._are_few():
            self._labels.add(row.answer)
            self._rows.append(_Labelled(scan, row.line, row.text, row.answer))
        else:
            self._rows.clear()

    def findings(self) -> Iterator[Finding]:
        """Labels that look wrong, by file."""
        if self._labelled and not self._are_few():
            asked = f"{self._labelled:,} rows take a while" if self._at_most else "as was asked"
            self.notes.append(f"labels were not doubted: {asked}; --label-errors does it")
        if len(self._labels) < 2 or not self._rows:
            return
        try:
            found, doubts = doubt_labels([row.text for row in self._rows], [row.label for row in self._rows])
        except MissingExtraError as error:
            self.notes.append(f"labels were not doubted: {error}")
            return
        if found < KNOWS:
            told = f"a TF-IDF model finds {found:.0%} of them, too few to know better"
            self.notes.append(f"labels were not doubted: {told}")
        by_file: dict[Scan, Places] = {}
        for doubt in doubts:
            row = self._rows[doubt.row]
            suspect = Suspect(row.scan.place(row.line), row.label, doubt.suggested, doubt.odds, hide(row.text))
            places = by_file.setdefault(row.scan, Places())
            places.add(f"{suspect.place}: {suspect.given}, rather {suspect.suggested}")
            self.listed += [suspect] if len(self.listed) < KEPT else []
        for scan, places in by_file.items():
            remedy = "look at each, the likeliest first: --html shows their texts"
            yield from places.finding("warning", "label-errors", f"{scan.path}: labels that look wrong", remedy)

    def _are_few(self) -> bool:
        return self._characters * max(_LEAST_LABELS, len(self._labels)) <= self._at_most
