"""Reads a file to look at it: line, text and answer of each row, one at a time; what cannot be used is told.

In comes a path that nobody has checked, out go rows as their layout understands them. Makes no records, so that memory
does not grow with the file. Knows no check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from slmops.core.errors import DataError
from slmops.data import formats
from slmops.data.layouts import Recognised, answer_of, recognise
from slmops.data.sources import rows_of
from slmops.tasks.types import Record, Source

OnRefused = Callable[[int, DataError, bool], None]  # its line, why, and whether it only is blank


class Row(NamedTuple):
    """A row that can be used. `answer` is its label, or else its answer as JSON; None where it has none."""

    line: int
    text: str
    answer: str | None
    raw: formats.Row

    @property
    def everything(self) -> str:
        """All strings of the row, its answer and columns that mean nothing here among them."""
        values = self.raw.values()
        if all(type(value) is str for value in values):
            return "\n".join(values)
        return Record("", self.raw, None, Source("")).text


def scans_of(paths: Sequence[Path], fields: Mapping[str, str], max_row_bytes: int) -> list[Scan]:
    """A scan of each; places name the whole path where two files have the same name."""
    names = [path.name for path in paths]
    return [
        Scan(path, fields, max_row_bytes, path.name if names.count(path.name) == 1 else str(path)) for path in paths
    ]


class Scan:
    """The rows of a file; `layout` is how they are read, known from the first one on."""

    def __init__(self, path: Path, fields: Mapping[str, str], max_row_bytes: int, name: str = "") -> None:
        self.path, self._fields, self._limit = path, fields, max_row_bytes
        self._name = name or path.name
        self.layout: Recognised | None = None

    @property
    def labelled(self) -> bool:
        """Whether the answers are labels of a set."""
        return self.layout is not None and self.layout.layout.answers == "label"

    def place(self, line: int) -> str:
        """A row as a reader of the file finds it."""
        return f"{self._name}:{line}"

    def rows(self, on_refused: OnRefused = lambda line, error, blank: None) -> Iterator[Row]:
        """Every row that can be used.

        Raises:
            DataError: the file cannot be read, or lacks a column that was named.
        """
        for line, row in rows_of(self.path, self._limit):
            if isinstance(row, DataError):
                on_refused(line, row, False)
                continue
            where = f"{self.path}:{line}"
            self.layout = self.layout or recognise(row, where, self._fields)
            try:
                parts = self.layout.parts(row, where)
            except DataError as error:
                on_refused(line, error, self.layout.is_blank(row))
                continue
            yield Row(line, self.layout.said(parts), answer_of(parts), row)

    def line(self, place: str) -> int | None:
        """The line of a place in this file; None for one in another."""
        name, _, line = place.rpartition(":")
        return int(line) if name == self._name else None

    def texts_at(self, lines: set[int]) -> dict[int, str]:
        """The texts of some rows, by their lines."""
        found: dict[int, str] = {}
        if lines:
            for row in self.rows():
                if row.line in lines:
                    found[row.line] = row.text
                    if len(found) == len(lines):
                        break
        return found
