"""Rows of a file, one at a time: JSON Lines, a JSON list, CSV, TSV, Parquet or Arrow; texts plain or in gzip or zstd.

In comes a path that nobody has checked, out go rows as mappings, and a DataError in the place of a row that is none.
Never holds more than a row and its limit (Parquet and Arrow: a batch of rows). Knows no field by name.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, NoReturn

from slmops.core.errors import DataError, need

Row = Mapping[str, Any]
Rows = Iterator[tuple[int, Row | DataError]]  # with the line where the row begins (Parquet, Arrow: which row it is)

_NO_UTF8 = re.compile("[\udc80-\udcff]")  # what Python makes of a byte that is no UTF-8
_ENDS = ("\n", "\r")
_CHUNK = 1 << 16
_BATCH = 1024
_TRUSTED_BYTES, _TRUSTED_RATIO = 1_000_000_000, 200  # texts shrink to a tenth; what swells more is made to fill a disk
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}


def rows_of(path: Path, max_row_bytes: int) -> Rows:
    """(line, row) of a file in the format that its name's ending tells; blank lines are left out.

    Raises:
        DataError: the file cannot be read any further: another format, damaged, or swelling without end.
    """
    ending, compression = _endings_of(path)
    reader = _READERS.get(ending)
    if reader is None:
        known = ", ".join(_READERS)
        raise DataError(
            f"found the ending {''.join(path.suffixes[-2:]) or 'none'!r}, expected {known}, or these with .gz or .zst",
            where=str(path),
            remedy="rename the file, or save it as JSON Lines",
        )
    try:
        if ending in _BINARY:
            if compression:
                raise DataError(f"{ending} is compressed inside", where=str(path), remedy=f"take {compression} off")
            yield from reader(path, max_row_bytes)
            return
        with _OPENERS[compression](path) as stream:
            yield from reader(_Bounded(stream, path), path, max_row_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.strerror is None:
            raise _damaged(path, error) from error
        raise DataError(f"cannot be read: {error.strerror}", where=str(path), remedy="check the path") from error


def is_known(path: Path) -> bool:
    """Whether a file's name has an ending that can be read."""
    return _endings_of(path)[0] in _READERS


def kind(value: Any) -> str:
    """What a value is, in words."""
    return "null" if value is None else _KINDS.get(type(value), f"a {type(value).__name__}")


def refuse(where: str, found: str, expected: str, remedy: str) -> NoReturn:
    raise DataError(f"found {found}, expected {expected}", where=where, remedy=remedy)


class _Bounded(io.RawIOBase):
    """What a compressed file unpacks to, as long as it is in proportion."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path, self._read = stream, path, 0
        self._limit = max(_TRUSTED_BYTES, _TRUSTED_RATIO * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._read += len(data)
        if self._read > self._limit:
            raise DataError(
                f"unpacks to more than {self._limit:,} bytes", where=str(self._path), remedy="unpack it yourself"
            )
        buffer[: len(data)] = data
        return len(data)


def _json_lines(stream: io.IOBase, path: Path, limit: int) -> Rows:
    for line, text in _lines(_as_text(stream, None), path, limit):
        if isinstance(text, DataError):
            yield line, text
        elif text.strip():
            yield line, _parsed(text, f"{path}:{line}")


def _json(stream: io.RawIOBase, path: Path, limit: int) -> Rows:
    """A list of objects; or JSON Lines, which some call .json."""
    buffered = io.BufferedReader(stream, _CHUNK)
    begin = buffered.peek(_CHUNK)[:_CHUNK].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not begin.startswith(b"["):
        yield from _json_lines(buffered, path, limit)
        return
    text = _as_text(buffered, None)
    blank, _, held = text.read(_CHUNK).partition("[")
    line = 1 + blank.count("\n")
    while True:
        rest = held.lstrip(" \t\r\n,")
        line += held[: len(held) - len(rest)].count("\n")
        held, where = rest, f"{path}:{line}"
        if held.startswith("]"):
            if held[1:].strip() or text.read(_CHUNK).strip():
                refuse(where, "more behind the list's end", "one list", "write one object a line, as JSON Lines")
            return
        try:
            row, end = _DECODER.raw_decode(held)
        except (ValueError, RecursionError) as error:
            more = "" if isinstance(error, RecursionError) else text.read(_CHUNK)
            if not more:
                raise _no_json(error, where) from error
            held += more
            if len(held) > limit + 2 * _CHUNK:
                refuse(where, f"more than {limit:,} bytes, or no JSON", "one object", "shorten the row")
            continue
        wrong = _too_long(limit, where) if end > limit else _no_utf8(held[:end], where)
        yield line, wrong or (row if isinstance(row, dict) else _no_object(row, where))
        line += held[:end].count("\n")
        held = held[end:]


def _table(stream: io.RawIOBase, path: Path, limit: int, delimiter: str) -> Rows:
    """Rows of a table with a header; an empty cell is no field."""
    bad: list[DataError] = []
    lines = _lines(_as_text(stream, ""), path, limit)

    def whole() -> Iterator[str]:
        for _, text in lines:
            if isinstance(text, DataError):
                bad.append(text)
                yield "\n"
            else:
                yield text

    source = whole()
    first = next(source, "")
    if delimiter not in first and ";" in first:
        delimiter = ";"
    csv.field_size_limit(max(limit, csv.field_size_limit()))
    reader = csv.reader(chain([first], source), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        where = f"{path}:{line}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield (
                line,
                DataError(f"found no row of a table ({error})", where=where, remedy="mend its quotes"),
            )
            continue
        if bad:
            yield line, bad.pop()
        elif not any(cells):
            continue
        elif not header:
            header = [cell.strip() for cell in cells]
            if len(set(header)) < len(header) or "" in header:
                refuse(where, f"the header {header!r}"[:200], "a name of its own for each", "mend the header")
        elif len(cells) != len(header):
            found = f"found {len(cells)} cells, expected {len(header)}"
            yield (
                line,
                DataError(found, where=where, remedy="put quotes around texts with a delimiter in them"),
            )
        else:
            yield line, {name: cell for name, cell in zip(header, cells, strict=True) if cell}


def _parquet(path: Path, limit: int) -> Rows:
    arrow, parquet = need("pyarrow", "data"), need("pyarrow.parquet", "data")
    try:
        with parquet.ParquetFile(path) as file:
            yield from _of_batches(file.iter_batches(batch_size=_BATCH), file.schema_arrow, path, limit)
    except arrow.ArrowException as error:
        raise _damaged(path, error) from error


def _arrow(path: Path, limit: int) -> Rows:
    """A stream, as Hugging Face's `datasets` writes it, or a file of Arrow."""
    arrow = need("pyarrow", "data")
    try:
        with arrow.memory_map(str(path)) as file:
            is_file = file.read(6) == b"ARROW1"
            file.seek(0)
            if is_file:
                reader = arrow.ipc.open_file(file)
                batches = map(reader.get_batch, range(reader.num_record_batches))
            else:
                batches = reader = arrow.ipc.open_stream(file)
            small = (batch.slice(at, _BATCH) for batch in batches for at in range(0, batch.num_rows, _BATCH))
            yield from _of_batches(small, reader.schema, path, limit)
    except arrow.ArrowException as error:
        raise _damaged(path, error) from error


def _of_batches(batches: Iterable[Any], schema: Any, path: Path, limit: int) -> Rows:
    names, line = _class_names(schema), 0
    for batch in batches:
        may_be_long = batch.nbytes > limit
        for values in _values_of(batch, f"{path}:", line):
            line += 1
            if isinstance(values, DataError):
                yield line, values
                continue
            if may_be_long and _size(values) > limit:
                yield line, _too_long(limit, f"{path}:{line}")
                continue
            row = {column: value for column, value in values.items() if value is not None}
            for column, of_class in names.items():
                if isinstance(number := row.get(column), int) and 0 <= number < len(of_class):
                    row[column] = of_class[number]
            yield line, row


def _values_of(batch: Any, where: str, before: int) -> Iterator[dict[str, Any] | DataError]:
    """Each row of a batch; where some cannot be read, an error in their place. Offsets that lead out of the file are
    found by validating."""
    unreadable = (need("pyarrow", "data").ArrowException, ValueError, OverflowError)
    try:
        batch.validate(full=True)
        yield from batch.to_pylist()
    except unreadable as error:
        if batch.num_rows == 1:
            what = f"found what cannot be read ({error})"
            yield DataError(what, where=f"{where}{before + 1}", remedy="mend the row, or leave it out")
            return
        for row in range(batch.num_rows):
            yield from _values_of(batch.slice(row, 1), where, before + row)


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Column → the labels that its numbers stand for, as Hugging Face's `datasets` notes them."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        labels = {column: feature["names"] for column, feature in features.items() if "names" in feature}
        lists = {column: names for column, names in labels.items() if isinstance(names, list)}
        return {column: names for column, names in lists.items() if all(isinstance(name, str) for name in names)}
    except (ValueError, TypeError, AttributeError, RecursionError):  # somebody else's note
        return {}


def _zstd(path: Path) -> Any:
    return need("pyarrow", "data").input_stream(str(path), compression="zstd")


_READERS: dict[str, Callable[..., Rows]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": partial(_table, delimiter=","),
    ".tsv": partial(_table, delimiter="\t"),
    ".parquet": _parquet,
    ".arrow": _arrow,
}
_BINARY = (".parquet", ".arrow")
_OPENERS: dict[str, Callable[[Path], Any]] = {"": lambda path: path.open("rb"), ".gz": gzip.open, ".zst": _zstd}


def _endings_of(path: Path) -> tuple[str, str]:
    """What a file's name says of its format, and of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in _OPENERS else ""
    return (suffixes[-1] if suffixes else ""), compression


def _as_text(stream: Any, newline: str | None) -> io.TextIOWrapper:
    """UTF-8 with or without a byte order mark; a wrong byte becomes a lone surrogate, so that its line can be named."""
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream, _CHUNK)
    return io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _lines(text: io.TextIOWrapper, path: Path, limit: int) -> Iterator[tuple[int, str | DataError]]:
    """(line, its text); what is too long or no UTF-8 is an error in its place."""
    line = 0
    while held := text.readline(limit + 1):
        line += 1
        where = f"{path}:{line}"
        if len(held) > limit and not held.endswith(_ENDS):
            while held and not held.endswith(_ENDS):
                held = text.readline(_CHUNK)
            yield line, _too_long(limit, where)
        else:
            yield line, _no_utf8(held, where) or held


def _too_long(limit: int, where: str) -> DataError:
    return DataError(f"found more than {limit:,} bytes, expected one message", where=where, remedy="shorten the row")


def _size(value: Any) -> int:
    """Roughly the bytes that a row takes."""
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, list):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str | bytes) else 8


def _no_utf8(text: str, where: str) -> DataError | None:
    wrong = None if text.isascii() else _NO_UTF8.search(text)
    if wrong is None:
        return None
    at = len(text[: wrong.start()].encode()) + 1
    return DataError(
        f"found the byte 0x{ord(wrong[0]) - 0xDC00:02x} at {at}, expected UTF-8", where=where, remedy="save as UTF-8"
    )


def _parsed(text: str, where: str) -> Row | DataError:
    try:
        row = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:  # a JSONDecodeError, a constant, or a number of thousands of digits
        return _no_json(error, where)
    return row if isinstance(row, dict) else _no_object(row, where)


def _no_json(error: Exception, where: str) -> DataError:
    if isinstance(error, DataError):
        return error
    if isinstance(error, RecursionError):
        return DataError(
            "found values nested too deep, expected a flat object",
            where=where,
            remedy="keep the text and its label only",
        )
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return DataError(f"found no JSON ({reason}), expected one JSON object a line", where=where, remedy="mend the row")


def _no_object(row: Any, where: str) -> DataError:
    return DataError(f"found {kind(row)}, expected an object", where=where, remedy='write {"text": "…"}')


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"is damaged: {error}", where=str(path), remedy="copy or write it again")
