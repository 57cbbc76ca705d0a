"""Reads labelled or unlabelled texts from JSON Lines, one row at a time.

In comes a file that nobody has checked, out go records with `inputs["text"]`, or a DataError that names file, line,
field and remedy. Knows no task beyond its set of labels, no split and no duplicates.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from slmops.core.errors import DataError
from slmops.tasks.types import Record, Source

_MARK = b"\xef\xbb\xbf"  # the byte order mark that some editors put before UTF-8
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}


def read_jsonl(
    path: Path,
    *,
    labels: Collection[str] | None = None,
    text_field: str = "text",
    label_field: str = "label",
    max_row_bytes: int = 1_000_000,
) -> list[Record]:
    """The records of a file. With `labels` every row must have one of them; without, a label may be there or not.

    A record's id is the hash of its text, so it stays when rows move; a text that stands there again gets `-2`, `-3`.

    Raises:
        DataError: the file cannot be read, has no rows, or a row cannot be used.
    """
    allowed = None if labels is None else tuple(sorted(labels))
    seen: Counter[str] = Counter()
    records = []
    for line, row in _rows(path, max_row_bytes):
        text = _text(row, text_field, f"{path}:{line} · {text_field}")
        label = _label(row, label_field, allowed, f"{path}:{line} · {label_field}")
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}-{seen[name]}"
        records.append(Record(unique, {"text": text}, label, Source(path.name, line)))
    if not records:
        raise DataError("the file has no rows", where=str(path), remedy='write rows such as {"text": "…"}, one a line')
    return records


def labels_of(records: Sequence[Record]) -> tuple[str, ...]:
    """The labels that `records` carry, sorted: the closed set where the config says `labels: from-data`.

    Raises:
        DataError: a record has no label, or all have the same.
    """
    for record in records:
        if record.gold is None:
            where = f"{record.source.file}:{record.source.line} · label"
            _refuse(where, "nothing", "a label", "label the row, or move it to the unlabelled file")
    labels = tuple(sorted({str(record.gold) for record in records}))
    if len(labels) < 2:
        where = records[0].source.file if records else ""
        raise DataError(
            f"found the labels {list(labels)}, expected two or more", where=where, remedy="add labelled rows"
        )
    return labels


def _rows(path: Path, max_row_bytes: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line, row), blank lines left out. Never holds more than one row and its limit."""
    try:
        with path.open("rb") as stream:
            line = 0
            while raw := stream.readline(max_row_bytes + 1):
                line += 1
                if len(raw) > max_row_bytes and not raw.endswith(b"\n"):
                    _refuse(f"{path}:{line}", f"more than {max_row_bytes:,} bytes", "one message", "shorten the row")
                raw = raw.removeprefix(_MARK) if line == 1 else raw
                if raw.strip():
                    yield line, _parse(raw, f"{path}:{line}")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path), remedy="check the path") from error


def _parse(raw: bytes, where: str) -> Mapping[str, Any]:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        _refuse(where, f"the byte 0x{raw[error.start]:02x} at {error.start + 1}", "UTF-8", "save as UTF-8")
    try:
        row = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        _refuse(where, "values nested too deep", "a flat object", "keep the text and its label only")
    except ValueError as error:  # a JSONDecodeError, a constant, or a number of thousands of digits
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        _refuse(where, f"no JSON ({reason})", "one JSON object a line", "mend the row")
    if not isinstance(row, dict):
        _refuse(where, _kind(row), "an object", 'write {"text": "…"}')
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    if field not in row:
        found = f"the fields {sorted(row)[:5]!r}"[:200] if row else "no field"
        _refuse(where, found, repr(field), f"name the message's field {field!r}")
    text = row[field]
    if not isinstance(text, str):
        _refuse(where, _kind(text), "a string", "write the message in quotes")
    if not text.strip():
        _refuse(where, "a blank text", "a message", "remove the row")
    _check_encodable(text, where)
    return text


def _label(row: Mapping[str, Any], field: str, allowed: tuple[str, ...] | None, where: str) -> str | None:
    label = row.get(field)
    if label is None:
        if allowed is not None:
            _refuse(where, "nothing", "a label", f"write one of {_few(allowed)}")
        return None
    if not isinstance(label, str):
        _refuse(where, _kind(label), "a string", "write the label in quotes")
    _check_encodable(label, where)
    if allowed is not None and label not in allowed:
        near = difflib.get_close_matches(label.strip(), allowed, n=1)
        _refuse(where, repr(label[:80]), "a label of the set", f"did you mean {near[0]}?" if near else _few(allowed))
    if label != label.strip() or not label:
        _refuse(where, repr(label[:80]), "a label without spaces around it", "remove the spaces, or write a label")
    return label


def _check_encodable(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        _refuse(where, f"half a character (\\u{ord(text[error.start]):04x})", "whole characters", "mend the text")


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null")


def _refuse(where: str, found: str, expected: str, remedy: str) -> NoReturn:
    raise DataError(f"found {found}, expected {expected}", where=where, remedy=remedy)
