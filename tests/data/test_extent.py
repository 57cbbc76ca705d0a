"""How many rows a file has, and how long they are, is told without reading all of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from slmops.data.extent import Extent, extent_of

ROWS = [{"question": "why? " * (10 + number % 7), "answer": "so " * (3 + number % 5)} for number in range(3000)]


def written(folder: Path, ending: str, rows: list[dict[str, str]]) -> Path:
    path = folder / f"rows.{ending}"
    if ending == "csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = [json.dumps(row) for row in rows]
        path.write_text("[\n" + ",\n".join(lines) + "]" if ending == "json" else "\n".join(lines))
    return path


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
def test_a_long_file_is_told_from_its_first_rows_and_its_size(tmp_path: Path, ending: str) -> None:
    found = extent_of(written(tmp_path, ending, ROWS), {}, 10_000)
    assert found.rows == pytest.approx(3000, rel=0.02)
    assert found.asked / found.rows == pytest.approx(65, rel=0.02)
    assert found.answered / found.rows == pytest.approx(15, rel=0.02)


def test_few_rows_and_slices_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl", ROWS)
    assert extent_of(Path(f"{path}#[:1000]"), {}, 10_000).rows == 1000
    path.write_text('{"body": "where?", "kind": "track"}\nnot a row\n{"body": "no kind"}\n')
    assert extent_of(path, {"text": "body", "label": "kind"}, 10_000) == Extent(2, 13, 5)


def test_half_a_character_is_left_to_who_reads_for_good(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "where \\ud83d?", "label": "track"}\n')
    assert extent_of(tmp_path / "rows.jsonl", {}, 10_000).rows == 1
