"""Reads labelled or unlabelled texts from whatever file they are in, one row at a time.

In comes a file that nobody has checked, out go records with `inputs["text"]`, or a DataError that names file, line,
field and remedy. Knows no task beyond its set of labels, no split and no duplicates.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from slmops.core.errors import DataError
from slmops.data.formats import kind, refuse, rows_of
from slmops.tasks.types import Record, Source

TEXT_NAMES = ("text", "message", "utterance", "sentence", "content", "input", "prompt", "query", "question", "review")
LABEL_NAMES = ("label", "intent", "category", "class", "topic", "target", "output", "completion", "answer")


def read_texts(
    path: Path,
    *,
    labels: Collection[str] | None = None,
    labelled: bool = False,
    text_field: str | None = None,
    label_field: str | None = None,
    max_row_bytes: int = 1_000_000,
    on_error: Callable[[DataError, Any], None] | None = None,
) -> list[Record]:
    """The records of a file. With `labels` every row must have one of them; if `labelled`, any; else it may have one.

    A field that is not named is the first of TEXT_NAMES or LABEL_NAMES that the file's first row has. A record's id is
    the hash of its text, so it stays when rows move; a text that stands there again gets `-2`, `-3`. A row that cannot
    be used is told to `on_error`, with what was read of it, and left out, where that is given.

    Raises:
        DataError: the file cannot be read, has no rows, or a row cannot be used.
    """
    allowed = None if labels is None else tuple(sorted(labels))
    seen: Counter[str] = Counter()
    records = []
    for line, row in rows_of(path, max_row_bytes):
        try:
            if isinstance(row, DataError):
                raise row
            text_field = text_field or _first_of(TEXT_NAMES, row)
            label_field = label_field or _first_of(LABEL_NAMES, row)
            text = _text(row, text_field, f"{path}:{line} · {text_field}")
            label = _label(row, label_field, allowed, labelled, f"{path}:{line} · {label_field}")
        except DataError as error:
            if on_error is None:
                raise
            on_error(error, None if isinstance(row, DataError) else row)
            continue
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}-{seen[name]}"
        records.append(Record(unique, {"text": text}, label, Source(path.name, line)))
    if not records:
        raise DataError("the file has no rows", where=str(path), remedy='write rows such as {"text": "…"}, one a line')
    return records


def _first_of(names: Sequence[str], row: Mapping[str, Any]) -> str:
    return next((name for name in names if name in row), names[0])


def labels_of(records: Sequence[Record]) -> tuple[str, ...]:
    """The labels that `records` carry, sorted: the closed set where the config says `labels: from-data`.

    Raises:
        DataError: a record has no label, or all have the same.
    """
    for record in records:
        if record.gold is None:
            where = f"{record.source.place} · label"
            refuse(where, "nothing", "a label", "label the row, or move it to the unlabelled file")
    labels = tuple(sorted({str(record.gold) for record in records}))
    if len(labels) < 2:
        where = records[0].source.file if records else ""
        raise DataError(
            f"found the labels {list(labels)}, expected two or more", where=where, remedy="add labelled rows"
        )
    return labels


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    if field not in row:
        found = f"the fields {sorted(row)[:5]!r}"[:200] if row else "no field"
        refuse(where, found, repr(field), f"name the message's field {field!r}, or say data.fields: {{text: …}}")
    text = row[field]
    if not isinstance(text, str):
        refuse(where, kind(text), "a string", "write the message in quotes")
    if not text.strip():
        refuse(where, "a blank text", "a message", "remove the row")
    if "\0" in text:
        refuse(where, "a NUL character", "a message", "remove it: Foundry Local would read only what stands before it")
    _check_encodable(text, where)
    return text


def _label(
    row: Mapping[str, Any], field: str, allowed: tuple[str, ...] | None, labelled: bool, where: str
) -> str | None:
    label = row.get(field)
    if label is None:
        if allowed is not None:
            refuse(where, "nothing", "a label", f"write one of {_few(allowed)}")
        if labelled:
            refuse(where, "nothing", "a label", "label the row, or move it to the unlabelled file")
        return None
    if not isinstance(label, str):
        refuse(where, kind(label), "a string", "write the label in quotes")
    _check_encodable(label, where)
    if allowed is not None and label not in allowed:
        near = difflib.get_close_matches(label.strip(), allowed, n=1)
        refuse(where, repr(label[:80]), "a label of the set", f"did you mean {near[0]}?" if near else _few(allowed))
    if label != label.strip() or not label:
        refuse(where, repr(label[:80]), "a label without spaces around it", "remove the spaces, or write a label")
    return label


def _check_encodable(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        refuse(where, f"half a character (\\u{ord(text[error.start]):04x})", "whole characters", "mend the text")


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
