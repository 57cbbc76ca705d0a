"""What is wrong with files is found, with its places; what is right is left in peace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slmops.core.errors import DataError
from slmops.data.findings import Finding, check_files

WORDS = ("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "juniper", "kelp", "meadow")
TOPICS = ("the parcel is late", "my card was charged", "I forgot my password", "the lamp arrived broken")


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    return [
        {"text": f"{WORDS[n % 12]} {WORDS[n * 7 % 12]} {TOPICS[n % 2]} {n} {WORDS[n // 12 % 12]}", "label": "ab"[n % 2]}
        for n in range(start, start + count)
    ]


def write(path: Path, content: list[dict[str, str]], more: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content) + more)
    return path


def found(*paths: Path) -> dict[str, Finding]:
    return {finding.what.split(": ")[1]: finding for finding in check_files(paths).findings}


def test_files_without_fault_have_counts_and_no_findings(tmp_path: Path) -> None:
    report = check_files([write(tmp_path / "train.jsonl", rows(40)), write(tmp_path / "test.jsonl", rows(24, 100))])
    assert [(file.rows, file.refused, file.labels) for file in report.files] == [
        (40, 0, {"a": 20, "b": 20}),
        (24, 0, {"a": 12, "b": 12}),
    ]
    assert report.findings == () and report.errors == 0
    assert report.files[0].words[0] <= report.files[0].words[1] <= report.files[0].words[3]


def test_what_is_wrong_within_a_file_is_found(tmp_path: Path) -> None:
    good = rows(40)
    again = [good[0] | {"text": good[0]["text"].upper() + "!"}, good[2] | {"label": "b"}]
    near = [good[4] | {"text": good[4]["text"] + " x"}]
    seen = found(write(tmp_path / "train.jsonl", good + again + near + [{"text": "nobody knows"}], '{"text": 3}\n'))
    assert {what: (finding.severity, finding.count) for what, finding in seen.items()} == {
        "rows that cannot be used": ("error", 1),
        "the same text with different labels": ("error", 1),
        "the same text again": ("warning", 1),
        "nearly the same text again": ("warning", 1),
        "rows without a label": ("warning", 1),
    }
    assert seen["the same text again"].places == ("train.jsonl:1 and train.jsonl:41 (1.00)",)
    assert seen["the same text with different labels"].places == ("train.jsonl:3 and train.jsonl:42 (1.00)",)
    assert "found a number" in seen["rows that cannot be used"].places[0]


def test_rare_and_unbalanced_labels_are_found(tmp_path: Path) -> None:
    few = [row | {"label": "b" if n == 0 else "a"} for n, row in enumerate(rows(40))]
    seen = found(write(tmp_path / "train.jsonl", few))
    assert seen["labels with fewer than 10 rows"].places == ("b: 1",)
    assert seen["unbalanced"].places == ("a: 39, b: 1",)


def test_what_two_files_share_is_found(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", rows(40))
    test = write(
        tmp_path / "test.jsonl", [*rows(24, 100), rows(1)[0]] + [{**row, "label": "B"} for row in rows(10, 200)]
    )
    seen = found(train, test)
    assert seen["texts in both"].severity == "error"
    assert seen["texts in both"].places == ("train.jsonl:1 and test.jsonl:25 (1.00)",)
    assert seen["labels in one only"].places == (f"'B' in {test} only",)


def test_only_some_places_of_many_are_named(tmp_path: Path) -> None:
    seen = found(write(tmp_path / "train.jsonl", rows(40), "no JSON\n" * 30))
    assert (seen["rows that cannot be used"].count, len(seen["rows that cannot be used"].places)) == (30, 5)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        check_files([tmp_path / "missing.jsonl"])
