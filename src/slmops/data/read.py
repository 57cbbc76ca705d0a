"""Reads records from whatever file they are in, one row at a time.

In comes a file that nobody has checked, out go records, or a DataError that names file, line, field and remedy. What a
row means is for its layout to say, what a record needs is for the task, which is passed in as functions. Knows no
split and no duplicates.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from slmops.core.errors import DataError, InvalidAnswer
from slmops.data.formats import Row, refuse
from slmops.data.layouts import Recognised, recognise
from slmops.data.sources import rows_of
from slmops.tasks.types import Json, Parts, Record, Source

MAX_ROW_BYTES = 1_000_000
_ASKING = ("messages", "context", "question", "premise", "hypothesis")  # parts that ask for something beside a text

OnError = Callable[[DataError, Row | None], None]
Read = Callable[[Parts], tuple[Mapping[str, Json], Json | None]]


def read_records(
    path: Path,
    *,
    read: Read | None = None,
    check: Callable[[Json], None] | None = None,
    answered: bool = False,
    fields: Mapping[str, str] | None = None,
    like: Recognised | None = None,
    max_row_bytes: int = MAX_ROW_BYTES,
    on_error: OnError | None = None,
) -> list[Record]:
    """All records of a file.

    `read` makes inputs and gold of a row's parts (a task's; else the text and the answer), `check` looks at the gold;
    if `answered`, every row must have one. `fields` says which column is which part, where it has no usual name; a file
    is read `like` another where its first row allows it. A record's id is the hash of its inputs' texts, so it stays
    when rows move; what stands there again gets `-2`, `-3`. A row that cannot be used is told to `on_error`, with what
    was read of it, and left out, where that is given.

    Raises:
        DataError: the file cannot be read, has no rows, or a row cannot be used and there is no `on_error`.
    """
    seen: Counter[str] = Counter()
    layout: Recognised | None = None
    records = []
    for line, row in rows_of(path, max_row_bytes):
        where = f"{path}:{line}"
        try:
            if isinstance(row, DataError):
                raise row
            layout = layout or _layout_of(row, where, fields, like, answered)
            parts = layout.parts(row, where)
            inputs, gold = _read(read or _text_and_answer, parts, where)
            at = f"{where} · {layout.answer_column()}"
            if gold is None and answered:
                expected = "a label" if layout.layout.answers == "label" else "an answer"
                refuse(at, "nothing", expected, "write it, or move the row to the unlabelled file")
            if gold is not None and check:
                _check(check, gold, at)
        except DataError as error:
            if on_error is None:
                raise
            on_error(error, None if isinstance(row, DataError) else row)
            continue
        group = parts.get("group")
        record = Record("", inputs, gold, Source(path.name, line), group=None if group is None else str(group))
        name = hashlib.sha256(record.text.encode()).hexdigest()[:16]
        seen[name] += 1
        records.append(record.named(name if seen[name] == 1 else f"{name}-{seen[name]}"))
    if not records:
        raise DataError("the file has no rows", where=str(path), remedy='write rows such as {"text": "…"}, one a line')
    return records


def recognise_file(
    path: Path, fields: Mapping[str, str] | None = None, max_row_bytes: int = MAX_ROW_BYTES
) -> Recognised | None:
    """What the rows of a file hold, judged by its first good row; None where there is none."""
    for line, row in rows_of(path, max_row_bytes):
        if not isinstance(row, DataError):
            return recognise(row, f"{path}:{line}", fields)
    return None


def _layout_of(
    row: Row, where: str, fields: Mapping[str, str] | None, like: Recognised | None, answered: bool
) -> Recognised:
    """That of another file, where the row allows it; one's own where only that finds the answer, which may be called
    otherwise here (`summary` to learn from, `summaries` to judge by)."""
    if like is None or not like.fits(row):
        return recognise(row, where, fields)
    if answered and like.answer_column() not in row:
        own = recognise(row, where, fields)
        if own.layout.name == like.layout.name and own.answer_column() in row:
            return own
    return like


def _text_and_answer(parts: Parts) -> tuple[Mapping[str, Json], Json | None]:
    """Without a task: the parts that ask, whichever they are, and the one that answers."""
    asked = {name: parts[name] for name in _ASKING if name in parts}
    return asked or {"text": parts["text"]}, parts.get("answer")


def _read(read: Read, parts: Parts, where: str) -> tuple[Mapping[str, Json], Json | None]:
    try:
        return read(parts)
    except KeyError as error:
        found = f"a row of {', '.join(sorted(map(str, parts)))}"[:200]
        refuse(where, found, f"{error.args[0]!r}", f"say which column it is: data.fields: {{{error.args[0]}: …}}")
    except InvalidAnswer as error:
        raise DataError(error.what, where=where, remedy=error.remedy) from error


def _check(check: Callable[[Json], None], gold: Json, where: str) -> None:
    try:
        check(gold)
    except InvalidAnswer as error:
        raise DataError(error.what, where=where, remedy=error.remedy) from error
