"""Rows are the same whatever file they are in, and a bad one is named."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import DataError
from slmops.data.formats import rows_of
from slmops.data.read import read_records

ROWS = [
    {"text": "Where is it?", "label": "order_status"},
    {"text": 'It said "no", then\nnothing; 🙂', "label": "membership"},
    {"text": "Tab\there, comma", "label": "order_status"},
]
FORMATS = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet", "jsonl.gz", "csv.zst", "json.gz", "tsv.gz"]


def write(folder: Path, ending: str, rows: list[dict[str, Any]]) -> Path:
    path, (kind, *compression) = folder / f"rows.{ending}", ending.split(".")
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    text = io.StringIO(newline="")
    if kind == "json":
        json.dump(rows, text, indent=1)
    elif kind in ("csv", "tsv"):
        table = csv.DictWriter(text, list(rows[0]), delimiter="," if kind == "csv" else "\t")
        table.writeheader()
        table.writerows(rows)
    else:
        text.writelines(json.dumps(row) + "\n" for row in rows)
    content = text.getvalue().encode()
    if compression == ["gz"]:
        content = gzip.compress(content)
    elif compression == ["zst"]:
        content = pyarrow.compress(content, codec="zstd", asbytes=True)
    path.write_bytes(content)
    return path


def refusals(path: Path, limit: int = 1_000_000) -> list[str]:
    return [str(row) for _, row in rows_of(path, limit) if isinstance(row, DataError)]


@pytest.mark.parametrize("ending", FORMATS)
def test_rows_are_the_same_in_every_format(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, ending, ROWS)
    assert [row for _, row in rows_of(path, 1_000_000)] == ROWS


@pytest.mark.parametrize("ending", ["json", "csv", "tsv", "parquet", "jsonl.gz", "csv.zst"])
@given(
    texts=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(str.strip), min_size=1
    )
)
def test_every_text_comes_back(tmp_path_factory: pytest.TempPathFactory, ending: str, texts: list[str]) -> None:
    path = write(tmp_path_factory.mktemp("rows"), ending, [{"text": text, "n": "1"} for text in texts])
    assert [record.inputs["text"] for record in read_records(path)] == texts


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz", "csv.zst"])
@given(content=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, ending: str, content: bytes) -> None:
    path = tmp_path_factory.mktemp("rows") / f"rows.{ending}"
    path.write_bytes(content)
    try:
        assert all(isinstance(row, dict | DataError) for _, row in rows_of(path, 100))
    except DataError as error:
        assert error.where and error.remedy


@pytest.mark.parametrize("ending", ["jsonl.gz", "csv.zst", "parquet"])
def test_a_file_cut_short_is_told_as_damaged(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, ending, ROWS * 100)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        list(rows_of(path, 1_000_000))


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
def test_a_row_that_is_too_long_is_named_and_the_others_are_read(tmp_path: Path, ending: str) -> None:
    texts = ["a", "b" * 3000, "c"]
    path = write(tmp_path, ending, [{"text": text, "tags": "x"} for text in texts])
    assert ["found more than 2,000 bytes" in told for told in refusals(path, 2000)] == [True]
    assert [row["text"] for _, row in rows_of(path, 2000) if not isinstance(row, DataError)] == ["a", "c"]


def test_a_row_says_where_it_begins(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('text,label\n"two\nlines",a\nx,b\n')
    assert [line for line, _ in rows_of(tmp_path / "rows.csv", 1000)] == [2, 4]
    (tmp_path / "rows.json").write_text('[\n {"text": "x"},\n\n {"text":\n "y"}, {"text": "z"}]')
    assert [line for line, _ in rows_of(tmp_path / "rows.json", 1000)] == [2, 4, 5]


def test_lines_may_end_as_on_an_old_mac(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "x"}\r{"text": "y"}\r')
    (tmp_path / "rows.csv").write_bytes(b"text\rx\ry\r")
    for path in tmp_path.iterdir():
        assert [row for _, row in rows_of(path, 1000)] == [{"text": "x"}, {"text": "y"}]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"text;label\nx;a\n", ""),
        (b"text,label\nx,a\ny\n", ":3: found 1 cells, expected 2"),
        (b"text,label\nx,a,b\n", ":2: found 3 cells, expected 2"),
        (b'text,label\n"x"y,a\n', ":2: found no row of a table"),
        (b"text,label\ncaf\xe9,a\n", ":2: found the byte 0xe9 at 4, expected UTF-8"),
        (b"text,label\n" + b"x" * 2000 + b",a\n", ":2: found more than 1,000 bytes"),
    ],
)
def test_a_row_of_a_table_that_is_none_is_named_and_the_others_are_read(
    tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    assert [told in sentence for sentence in refusals(path, 1000)] == [True] * bool(told)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("rows.xlsx", b"", "found the ending '.xlsx', expected .jsonl"),
        ("rows", b"", "found the ending 'none'"),
        ("rows.csv", b"text,text\n", "expected a name of its own for each"),
        ("rows.json", b'[{"text": "x"}] [1]', "more behind the list's end"),
        ("rows.json", b'[{"text": "x"', "no JSON"),
        ("rows.json", b"[" * 3000, "nested too deep"),
        ("rows.json", b'[{"text": "' + b"x" * 300_000, "more than 1,000 bytes"),
        ("rows.parquet.gz", b"", ".parquet is compressed inside"),
        ("rows.parquet", b"PAR1", "damaged"),
        ("rows.jsonl.gz", b"no gzip", "damaged"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="(?s)" + told.replace(".", r"\.")) as refused:
        list(rows_of(tmp_path / name, 1000))
    assert name in refused.value.where


def test_a_file_that_swells_without_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb: 200 MB of one letter in 200 kB. The rule holds beyond a gigabyte; here it is asked to hold sooner."""
    monkeypatch.setattr("slmops.data.formats._TRUSTED_BYTES", 10_000_000)
    path, packer = tmp_path / "rows.jsonl.gz", zlib.compressobj(9, wbits=31)
    path.write_bytes(b"".join(packer.compress(b"x" * 1_000_000) for _ in range(200)) + packer.flush())
    tracemalloc.start()
    with pytest.raises(DataError, match="unpacks to more than"):
        list(rows_of(path, 1000))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
