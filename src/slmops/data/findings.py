"""What is said about data: findings, each with places and a remedy, and the counts of a file.

In come places as they are met, out go values that the console, JSON and the page are made of. A finding is counted to
its end, but names at most a thousand places, so that memory does not grow with what is wrong. Knows no check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

KEPT = 1_000  # places that a finding names, pairs and suspects that a report lists

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """What is wrong, how often, where (the first thousand places), and what to do. `kind` names the check for programs.
    An error would spoil what is learned or measured."""

    severity: Severity
    kind: str
    what: str
    count: int
    places: tuple[str, ...]
    remedy: str


@dataclass(frozen=True)
class Lengths:
    """How long texts are, in words or tokens: the shortest, median, 95th percentile, longest, and how many there are of
    each length: (from, to, count), both ends included, the last one with all that are longer."""

    unit: str
    least: int
    median: int
    most_of_95: int
    most: int
    bins: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class FileReport:
    """A file: how its rows are read (part → column), how many can be used, labels and languages with their counts."""

    file: str
    layout: str
    columns: dict[str, str]
    rows: int
    refused: int
    labels: dict[str, int]
    languages: dict[str, int]
    lengths: Lengths


@dataclass(frozen=True)
class SimilarTexts:
    """Two texts that are nearly the same; 1 where their character 5-grams are."""

    left: str  # place
    right: str
    similarity: float
    left_text: str = ""
    right_text: str = ""


@dataclass(frozen=True)
class Suspect:
    """A label that looks wrong: a model that has not seen the row holds `suggested` for so many times as likely."""

    place: str
    given: str
    suggested: str
    odds: float
    text: str = ""


@dataclass(frozen=True)
class DataReport:
    """All files, what was found in them (errors first), and `notes` on what was not looked at, or only in part."""

    files: tuple[FileReport, ...]
    findings: tuple[Finding, ...]
    similar: tuple[SimilarTexts, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        return len(self.findings) - self.errors


class Places:
    """Counts what is met, and keeps the first thousand places."""

    def __init__(self) -> None:
        self.count, self.kept = 0, list[str]()

    def add(self, place: str) -> None:
        self.count += 1
        if len(self.kept) < KEPT:
            self.kept.append(place)

    def finding(self, severity: Severity, kind: str, what: str, remedy: str) -> Iterator[Finding]:
        """The finding, if anything was met."""
        if self.count:
            yield Finding(severity, kind, what, self.count, tuple(self.kept), remedy)
