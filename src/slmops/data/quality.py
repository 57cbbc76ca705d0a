"""Looks at files of texts before anything is learned from them, and says what is wrong and what to do about it.

In come paths that nobody has checked, out goes a report: counts for each file, and findings, each with places and a
remedy. Each file is read once, row by row; texts wait on disk to be compared: memory hardly grows with the data.
Changes no file. Knows no task beyond labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from slmops.core.errors import DataError
from slmops.data.findings import DataReport, FileReport, Finding, Places, SimilarTexts
from slmops.data.labels import LabelTally, compare_labels
from slmops.data.language import LanguageTally
from slmops.data.lengths import LengthTally, count_words
from slmops.data.looks import Encoding, PersonalData, Silence, hide
from slmops.data.read import MAX_ROW_BYTES
from slmops.data.repeats import Repeats
from slmops.data.scan import Row, Scan, scans_of
from slmops.data.suspects import DOUBTED_AT_MOST, Suspects

OnStage = Callable[[str, float, str], None]


def check_files(
    paths: Sequence[Path],
    *,
    fields: Mapping[str, str] | None = None,
    count_tokens: Callable[[str], int] | None = None,
    doubted_at_most: int = DOUBTED_AT_MOST,
    max_row_bytes: int = MAX_ROW_BYTES,
    on_stage: OnStage = lambda stage, share, note: None,
) -> DataReport:
    """The report of `paths`, which are taken for the splits of one data set.

    Lengths are counted in words, or in tokens by `count_tokens`. Labels are doubted where characters × labels are no
    more than `doubted_at_most`; beyond, a note says so.

    Raises:
        DataError: a file cannot be read, or has no rows.
    """
    scans = scans_of(paths, fields or {}, max_row_bytes)
    unit, count = ("tokens", count_tokens) if count_tokens else ("words", count_words)
    suspects = Suspects(doubted_at_most)
    with Repeats() as repeats:
        looked = []
        for number, scan in enumerate(scans):
            repeats.begin(scan)
            file = _Looked(scan, LengthTally(unit, count))
            looked.append(file)
            for row in file.rows():
                repeats.add(row)
                suspects.add(scan, row)
                if file.used % 50_000 == 0:
                    on_stage("read", number / len(scans), f"{scan.path.name}: {file.used:,} rows")
        findings = [finding for file in looked for finding in file.findings()]
        on_stage("compare", 0.0, "the same and similar texts")
        findings += repeats.findings(lambda share: on_stage("compare", share, "the same and similar texts"))
        similar = tuple(repeats.similar)
    for one, other in combinations(looked, 2):
        findings += compare_labels(one.name, one.labels.counts, other.name, other.labels.counts)
    on_stage("doubt", 0.0, "labels that look wrong")
    findings += suspects.findings()
    notes = [*dict.fromkeys(note for file in looked for note in file.notes()), *suspects.notes]
    findings.sort(key=lambda finding: finding.severity)
    reports = tuple(file.describe() for file in looked)
    return DataReport(reports, tuple(findings), similar, tuple(suspects.listed), tuple(notes))


def with_texts(
    report: DataReport, fields: Mapping[str, str] | None = None, max_row_bytes: int = MAX_ROW_BYTES
) -> DataReport:
    """The report with the texts of its similar pairs, read anew; personal data in them is hidden."""
    wanted = {place for pair in report.similar for place in (pair.left, pair.right)}
    texts: dict[str, str] = {}
    for scan in scans_of([Path(file.file) for file in report.files], fields or {}, max_row_bytes):
        lines = {line for place in wanted if (line := scan.line(place)) is not None}
        texts |= {scan.place(line): hide(text) for line, text in scan.texts_at(lines).items()}

    def filled(pair: SimilarTexts) -> SimilarTexts:
        return replace(pair, left_text=texts.get(pair.left, ""), right_text=texts.get(pair.right, ""))

    return replace(report, similar=tuple(map(filled, report.similar)))


class _Looked:
    """A file, its tallies and looks."""

    def __init__(self, scan: Scan, lengths: LengthTally) -> None:
        self._scan, self.name, self.used = scan, str(scan.path), 0
        self._lengths, self.labels, self._language = lengths, LabelTally(), LanguageTally()
        self._personal = PersonalData()
        self._looks = (Encoding(), Silence(), self._language)
        self._refused, self._blank = Places(), Places()

    def rows(self) -> Iterator[Row]:
        """The file's rows, each looked at as it passes."""
        for row in self._scan.rows(self._refuse):
            self.used += 1
            place = self._scan.place(row.line)
            self._lengths.add(place, row.text)
            self._personal.add(place, row.everything)
            for look in self._looks:
                look.add(place, row.text)
            if self._scan.labelled:
                self.labels.add(place, row.answer)
            yield row
        if not self.used and not self._refused.count and not self._blank.count:
            raise DataError(
                "the file has no rows", where=self.name, remedy='write rows such as {"text": "…"}, one a line'
            )

    def findings(self) -> Iterator[Finding]:
        remedy = "mend them, or leave them out: slmops data clean does, and data.on_error: quarantine in a run"
        yield from self._refused.finding("error", "refused", f"{self.name}: rows that cannot be used", remedy)
        remedy = "slmops data clean leaves them out"
        yield from self._blank.finding("error", "blank", f"{self.name}: rows without a text", remedy)
        yield from self._lengths.findings(self.name)
        for look in (*self._looks, self._personal):
            yield from look.findings(self.name)
        yield from self.labels.findings(self.name)

    def notes(self) -> Iterator[str]:
        for look in (*self._looks, self._personal):
            yield from look.notes()

    def describe(self) -> FileReport:
        layout = self._scan.layout
        refused = self._refused.count + self._blank.count
        labels, lengths = dict(self.labels.counts.most_common()), self._lengths.describe()
        name, columns = (layout.layout.name, dict(layout.columns)) if layout else ("none", {})
        return FileReport(self.name, name, columns, self.used, refused, labels, self._language.languages, lengths)

    def _refuse(self, line: int, error: DataError, blank: bool) -> None:
        if blank:
            self._blank.add(self._scan.place(line))
        else:
            self._refused.add(hide(str(error)))
