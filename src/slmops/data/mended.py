"""Reads the rows of a file, mends their texts, and says which cannot be used even so.

In comes a path that nobody has checked, out go rows with their own columns, each with its text, its answer, and what
was done to it. Only columns that mean something to the file's layout are mended. Knows no duplicates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from slmops.core.errors import DataError
from slmops.data.formats import Row, refuse
from slmops.data.history import shortened
from slmops.data.layouts import Recognised, answer_of, recognise
from slmops.data.mend import mend
from slmops.data.sources import rows_of
from slmops.tasks.types import Json

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


class MendedRow(NamedTuple):
    """A row as JSON with its text and answer; or the reason why it cannot be used; or, blank, neither."""

    line: int
    row: Row | None
    written: str = ""
    text: str = ""
    answer: str | None = None
    steps: tuple[Json, ...] = ()
    refused: DataError | None = None


def mended_rows(path: Path, fields: Mapping[str, str] | None, max_row_bytes: int) -> Iterator[MendedRow]:
    """Every row of `path`, in order.

    Raises:
        DataError: the file cannot be read, or lacks a column that was named.
    """
    layout: Recognised | None = None
    for line, row in rows_of(path, max_row_bytes):
        if isinstance(row, DataError):
            yield MendedRow(line, None, refused=row)
            continue
        where = f"{path}:{line}"
        layout = layout or recognise(row, where, fields)
        steps: list[Json] = []
        columns = _mendable(row, layout)
        mended = {name: _mended(value, name, steps) if name in columns else value for name, value in row.items()}
        try:
            parts = layout.parts(mended, where)
            written = as_json(mended, where)
        except DataError as error:
            yield MendedRow(line, row, refused=None if layout.is_blank(mended) else error)
            continue
        yield MendedRow(line, row, written, layout.said(parts), answer_of(parts), tuple(steps))


def as_json(row: Row, where: str) -> str:
    """A row as a line of JSON Lines.

    Raises:
        DataError: it holds what JSON cannot say.
    """
    try:
        written = _ENCODER.encode(row)
        written.encode()
    except UnicodeEncodeError:
        refuse(where, "half a character", "whole characters", "mend the text")
    except (ValueError, TypeError) as error:  # a number that is none, or a type of Parquet that JSON lacks
        refuse(where, str(error), "what JSON can say", "take the column out, or write it as text")
    return written


def _mendable(row: Row, layout: Recognised) -> frozenset[str]:
    """Code keeps its indentation, and a text the places that spans point at."""
    columns = layout.used - {layout.columns.get(part) for part in ("code", "tests")}
    entities = layout.columns.get("entities", "")
    return columns - {layout.columns.get("text"), entities} if isinstance(row.get(entities), list) else columns


def _mended(value: Json, column: str, steps: list[Json]) -> Json:
    if isinstance(value, str):
        text, done = mend(value)
        steps += [
            {"did": step.did, "column": column, "before": shortened(step.before), "after": shortened(step.after)}
            for step in done
        ]
        return text
    if isinstance(value, Mapping):
        return {name: _mended(item, f"{column}.{name}", steps) for name, item in value.items()}
    if isinstance(value, list):
        return [_mended(item, f"{column}.{place}", steps) for place, item in enumerate(value)]
    return value
