"""How many rows a file has, and how long they are: told from its first rows and its size, without reading the rest.

In comes what a user wrote for a file; out go figures to estimate by. Knows no task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean

from slmops.core.errors import DataError
from slmops.data.formats import Row
from slmops.data.layouts import Recognised, answer_of, recognise
from slmops.data.sources import find_rows, rows_of
from slmops.tasks.types import Record, Source

_READ = 200  # of a file's rows; one that has no more is counted as it is
_SHRUNK = {".gz", ".zst", ".parquet"}
_TIMES = 3.0  # as many bytes of rows as such a file has


@dataclass(frozen=True)
class Extent:
    """How many rows, and the bytes of the texts and of the answers in all of them."""

    rows: float = 0.0
    asked: float = 0.0
    answered: float = 0.0

    def __add__(self, other: Extent) -> Extent:
        return Extent(self.rows + other.rows, self.asked + other.asked, self.answered + other.answered)

    def times(self, share: float) -> Extent:
        return Extent(share * self.rows, share * self.asked, share * self.answered)


def extent_of(path: Path, fields: Mapping[str, str], max_row_bytes: int) -> Extent:
    """That of the file at `path`; `fields` says which column is which part. Rows that cannot be used count for nothing.

    Raises:
        DataError: the file cannot be read.
    """
    found = [(f"{path}:{line}", row) for line, row in islice(rows_of(path, max_row_bytes), _READ)]
    rows = [(where, row) for where, row in found if not isinstance(row, DataError)]
    if not rows:
        return Extent()
    where, first = rows[0]
    layout = recognise(first, where, {part: column for part, column in fields.items() if column in first})
    texts = [_texts_of(layout, row, where) for where, row in rows]
    asked, answered = (float(sum(len(_bytes(text)) for text in some)) for some in zip(*texts, strict=True))
    read = Extent(len(rows), asked, answered)
    if len(found) < _READ:
        return read
    origin = find_rows(path)
    if origin.start or origin.stop:
        return read.times(sum(1 for _ in rows_of(path, max_row_bytes)) / len(rows))
    name = origin.files[0].name
    held = origin.size_bytes * (_TIMES if Path(name).suffix in _SHRUNK else 1.0)
    return read.times(held / mean(_written_bytes(row, ".json" in name) for _, row in rows) / len(rows))


def _texts_of(layout: Recognised, row: Row, where: str) -> tuple[str, str]:
    """What a row asks and its answer, as far as it has one."""
    try:
        parts = layout.parts(row, where)
    except DataError:  # whoever reads the file for good says what is wrong
        return Record("", row, None, Source("")).text, ""
    return layout.said(parts), answer_of(parts) or ""


def _written_bytes(row: Row, with_names: bool) -> int:
    if with_names:
        return len(_bytes(json.dumps(row, ensure_ascii=False, default=str))) + 1
    return sum(len(_bytes(str(value))) + 1 for value in row.values())


def _bytes(text: str) -> bytes:
    """In UTF-8, half a character, too: whoever reads the file for good refuses it."""
    return text.encode("utf-8", "surrogatepass")
