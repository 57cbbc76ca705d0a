"""Looks at files of texts before anything is learned from them, and says what is wrong and what to do about it.

In come paths that nobody has checked, out goes a report: counts for each file, and findings, each with places and a
remedy. Changes no file. Knows no task beyond labels.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from slmops.data.check import Pair, similar_within
from slmops.data.read import read_texts
from slmops.tasks.types import Record

_SHOWN = 5  # places a finding names
_FEW_ROWS = 10  # of a label: fewer are hardly learned, and never measured
_UNBALANCED = 20  # times as many rows of one label as of another

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """What is wrong, how often, where for example, and what to do. An error would spoil what is learned or measured."""

    severity: Severity
    what: str
    count: int
    places: tuple[str, ...]
    remedy: str


@dataclass(frozen=True)
class FileReport:
    """A file's counts; `words` are the shortest, median, 95th percentile and longest text."""

    file: str
    rows: int
    refused: int
    labels: dict[str, int]
    words: tuple[int, int, int, int]


@dataclass(frozen=True)
class DataReport:
    """All files and what was found in them, errors first."""

    files: tuple[FileReport, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)


def check_files(
    paths: Sequence[Path],
    *,
    text_field: str | None = None,
    label_field: str | None = None,
    max_row_bytes: int = 1_000_000,
) -> DataReport:
    """The report of `paths`, which are taken for the splits of one data set.

    Raises:
        DataError: a file cannot be read, or no row of it can be used.
    """
    records: dict[str, list[Record]] = {}
    refused: dict[str, list[str]] = {}
    for file in map(str, paths):
        refused[file] = []
        records[file] = read_texts(
            Path(file),
            text_field=text_field,
            label_field=label_field,
            max_row_bytes=max_row_bytes,
            on_error=lambda error, row, file=file: refused[file].append(str(error)),  # type: ignore[misc]
        )
    pairs = _similar(records)
    findings: list[Finding] = []
    for file, rows in records.items():
        if refused[file]:
            remedy = "mend them, or leave them out: data.on_error: quarantine"
            findings.append(_finding("error", f"{file}: rows that cannot be used", refused[file], remedy))
        findings += _within(file, rows, pairs[file, file])
    for one, other in combinations(records, 2):
        findings += _across(one, records[one], other, records[other], pairs[one, other])
    files = tuple(_describe(file, rows, len(refused[file])) for file, rows in records.items())
    return DataReport(files, tuple(sorted(findings, key=lambda finding: finding.severity)))


def _describe(file: str, rows: list[Record], refused: int) -> FileReport:
    lengths = [len(str(record.inputs["text"]).split()) for record in rows]
    shortest, median, most, longest = (int(value) for value in np.percentile(lengths, (0, 50, 95, 100)))
    return FileReport(file, len(rows), refused, dict(_labels(rows).most_common()), (shortest, median, most, longest))


def _similar(records: Mapping[str, list[Record]]) -> defaultdict[tuple[str, str], list[Pair]]:
    """The similar pairs of all files, found in one pass, by the files that the two are in."""
    file_of = {id(record): file for file, rows in records.items() for record in rows}
    found: defaultdict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in similar_within([record for rows in records.values() for record in rows]):
        found[file_of[id(pair.left)], file_of[id(pair.right)]].append(pair)
    return found


def _within(file: str, rows: list[Record], pairs: list[Pair]) -> list[Finding]:
    labels = _labels(rows)
    same, near = _same_and_near(pairs)
    conflicting = [pair for pair in same if _conflicts(pair)]
    found = [
        _finding(
            "error", f"{file}: the same text with different labels", conflicting, "decide which label is right for each"
        ),
        _finding(
            "warning",
            f"{file}: the same text again",
            [pair for pair in same if not _conflicts(pair)],
            "keep one of each: a repeated text counts more than once",
        ),
        _finding(
            "warning",
            f"{file}: nearly the same text again",
            near,
            "look whether they were copied; keep one of each, or all in one split",
        ),
    ]
    if labels:
        unlabelled = [record.source.place for record in rows if record.gold is None]
        found.append(
            _finding(
                "warning", f"{file}: rows without a label", unlabelled, "label them, or move them to a file of theirs"
            )
        )
        few = [f"{label}: {count}" for label, count in labels.items() if count < _FEW_ROWS]
        found.append(_finding("warning", f"{file}: labels with fewer than {_FEW_ROWS} rows", few, "add rows of them"))
        (most, many), (least, rare) = labels.most_common()[0], labels.most_common()[-1]
        if many > _UNBALANCED * rare:
            remedy = "add rows of the rare one, and judge by macro F1"
            found.append(_finding("warning", f"{file}: unbalanced", [f"{most}: {many}, {least}: {rare}"], remedy))
    return [finding for finding in found if finding.count]


def _across(one: str, left: list[Record], other: str, right: list[Record], pairs: list[Pair]) -> list[Finding]:
    same, near = _same_and_near(pairs)
    found = [
        _finding("error", f"{one} and {other}: texts in both", same, f"remove them from {one}"),
        _finding("warning", f"{one} and {other}: nearly the same texts", near, "look whether they were copied"),
    ]
    mine, theirs = _labels(left).keys(), _labels(right).keys()
    if mine and theirs:
        lone = [f"{label!r} in {one} only" for label in sorted(mine - theirs)]
        lone += [f"{label!r} in {other} only" for label in sorted(theirs - mine)]
        found.append(_finding("warning", f"{one} and {other}: labels in one only", lone, "one spelling; rows in both"))
    return [finding for finding in found if finding.count]


def _finding(severity: Severity, what: str, places: Sequence[object], remedy: str) -> Finding:
    return Finding(severity, what, len(places), tuple(map(str, places[:_SHOWN])), remedy)


def _labels(rows: list[Record]) -> Counter[str]:
    return Counter(str(record.gold) for record in rows if record.gold is not None)


def _same_and_near(pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
    same: list[Pair] = []
    near: list[Pair] = []
    for pair in pairs:
        (same if pair.same else near).append(pair)
    return same, near


def _conflicts(pair: Pair) -> bool:
    return None not in (pair.left.gold, pair.right.gold) and pair.left.gold != pair.right.gold
