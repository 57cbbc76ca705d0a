"""Cleaning mends and leaves out, tells what became of each row, and changes nothing twice."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slmops.core.errors import DataError
from slmops.data.candidates import Cleaned, Cleaning
from slmops.data.clean import clean_files
from slmops.data.history import read_history
from slmops.data.mend import mend

LONG = "the parcel that I ordered on Monday has not come and nobody answers when I call"


def write(path: Path, *rows: dict[str, Any] | str) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def cleaned(folder: Path, *rows: dict[str, Any] | str, **how: Any) -> tuple[Cleaned, list[dict[str, Any]]]:
    report = clean_files([write(folder / "raw.jsonl", *rows)], folder / "clean.jsonl", Cleaning(**how))
    return report, read(folder / "clean.jsonl")


@pytest.mark.parametrize(
    ("text", "mended", "did"),
    [
        ("schÃ¶ne GrÃ¼ÃŸe", "schöne Grüße", "mojibake repaired"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree", "line ends"),
        ("a\x00b\x07c", "abc", "control characters removed"),
        ("pass\u200bword\ufeff", "password", "invisible characters removed"),
        ("cafe\u0301", "café", "Unicode composed (NFC)"),
        ("  hello \n", "hello", "spaces at the ends removed"),
    ],
)
def test_what_is_broken_is_mended(text: str, mended: str, did: str) -> None:
    after, steps = mend(text)
    assert after == mended and [step.did for step in steps] == [did]


@pytest.mark.parametrize(
    "text",
    ["“quotes” – and dashes…", "👩\u200d💻 at work", "می\u200cخواهم", "🏴\U000e0067\U000e0062\U000e007f", "naïve café"],
)
def test_what_is_right_is_left_alone(text: str) -> None:
    assert mend(text) == (text, ())


@given(st.text())
def test_a_mended_text_is_not_changed_again(text: str) -> None:
    once, _ = mend(text)
    assert mend(once) == (once, ())


def test_rows_are_mended_left_out_and_kept_with_their_columns(tmp_path: Path) -> None:
    report, rows = cleaned(
        tmp_path,
        {"id": 7, "text": " schÃ¶n ", "label": "good "},
        {"id": 8, "text": "Hello there", "label": "good"},
        {"id": 9, "text": "hello THERE!", "label": "good"},
        {"id": 10, "text": " \u200b ", "label": "good"},
        {"id": 11, "text": "no", "label": "bad"},
        {"id": 12, "text": 5, "label": "bad"},
        "no JSON",
        {"id": 13, "text": "one two three four five", "label": "bad"},
        min_words=1,
        max_words=4,
    )
    assert rows == [
        {"id": 7, "text": "schön", "label": "good"},
        {"id": 8, "text": "Hello there", "label": "good"},
        {"id": 11, "text": "no", "label": "bad"},
    ]
    assert (report.rows, report.kept, report.mended, report.refused) == (8, 3, 1, 2)
    assert report.dropped == {"the same text again": 1, "blank": 1, "more than 4 words": 1}
    quarantine = read(tmp_path / "clean.quarantine.jsonl")
    assert [row["where"] for row in quarantine] == ["raw.jsonl:6", "raw.jsonl:7"]
    assert quarantine[0]["row"] == {"id": 12, "text": 5, "label": "bad"}


def test_the_history_tells_of_every_row(tmp_path: Path) -> None:
    good = [{"text": f"message {word}"} for word in ("one", "two", "three")]
    cleaned(tmp_path, *good, good[1], {"text": "four "}, {"text": "message five"})
    assert read(tmp_path / "clean.history.jsonl") == [
        {"from": "raw.jsonl:1", "to": 1, "rows": 3},
        {"from": "raw.jsonl:4", "to": None, "dropped": "the same text again", "of": "raw.jsonl:2"},
        {
            "from": "raw.jsonl:5",
            "to": 4,
            "steps": [{"did": "spaces at the ends removed", "column": "text", "before": "four ", "after": "four"}],
        },
        {"from": "raw.jsonl:6", "to": 5},
    ]


def test_a_rows_history_is_read_through_all_files(tmp_path: Path) -> None:
    cleaned(tmp_path, {"text": "one"}, {"text": "one"}, {"text": "two"}, {"text": "three "})
    (tmp_path / "more").mkdir()
    clean_files([tmp_path / "clean.jsonl"], tmp_path / "more" / "again.jsonl", Cleaning(min_words=1))
    events = read_history(tmp_path / "more" / "again.jsonl", 3)
    assert [(event.to, event.came_from) for event in events] == [
        ("again.jsonl:3", "../clean.jsonl:3"),
        ("clean.jsonl:3", "raw.jsonl:4"),
    ]
    assert events[1].steps[0]["before"] == "three "
    with pytest.raises(DataError, match="no history"):
        read_history(tmp_path / "raw.jsonl", 1)


def test_near_duplicates_go_where_their_answers_are_equal(tmp_path: Path) -> None:
    rows = [{"text": LONG, "label": "a"}, {"text": LONG + " !x", "label": "a"}, {"text": LONG + " y", "label": "b"}]
    assert len(cleaned(tmp_path, *rows)[1]) == 3
    report, kept = cleaned(tmp_path, *rows, near_duplicates="drop")
    assert kept == [rows[0], rows[2]] and report.dropped == {"nearly the same text again": 1}


def test_conflicting_answers_are_told_and_left_out_if_asked(tmp_path: Path) -> None:
    rows = [
        {"text": "Stop it", "label": "a"},
        {"text": "stop it", "label": "b"},
        {"text": "STOP IT!", "label": "b"},
        {"text": "Go on", "label": "a"},
    ]
    report, kept = cleaned(tmp_path, *rows)
    assert report.conflicts == 1 and report.conflict_places == ("raw.jsonl:1 and raw.jsonl:2",)
    assert kept == [rows[0], rows[1], rows[3]]
    assert cleaned(tmp_path, *rows, conflicts="drop")[1] == [rows[3]]


def test_spans_still_point_at_their_words_and_code_keeps_its_indentation(tmp_path: Path) -> None:
    spans = {"text": " to Rome ", "entities": [{"start": 4, "end": 8, "label": "city"}]}
    assert cleaned(tmp_path, spans)[1] == [spans]
    code = {"task": "double it ", "code": "    return 2 * x\n"}
    assert cleaned(tmp_path, code)[1] == [{"task": "double it", "code": "    return 2 * x\n"}]


def test_several_files_become_one(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", {"text": "first"}, {"text": "second"})
    (tmp_path / "two.csv").write_text("message,kind\nSecond!,x\nthird,x\n")
    clean_files([one, tmp_path / "two.csv"], tmp_path / "out" / "all.jsonl")
    assert read(tmp_path / "out" / "all.jsonl")[2:] == [{"message": "third", "kind": "x"}]
    assert read(tmp_path / "out" / "all.history.jsonl")[1]["from"] == "../two.csv:2"


def test_a_file_is_not_written_over_what_it_is_made_from(tmp_path: Path) -> None:
    path = write(tmp_path / "raw.jsonl", {"text": "one"})
    with pytest.raises(DataError, match="the same file to read and to write"):
        clean_files([path], path)


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    cleaned(tmp_path, {"text": "one"})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(DataError):
        clean_files([tmp_path / "raw.jsonl", tmp_path / "none.jsonl"], tmp_path / "clean.jsonl")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


TEXTS = st.text(st.sampled_from("aâ€™Ã©b \t\r\n\0\u200b\u200d\u0301ñ!"), max_size=12) | st.text(max_size=20)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.sampled_from((None, "x", " y"))), max_size=15), st.sampled_from(("keep", "drop")))
def test_a_clean_file_comes_out_as_it_went_in(rows: list[tuple[str, str | None]], what: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written = [{"text": text, "label": label} for text, label in [("A first row", "x"), *rows]]
        lines = (json.dumps({name: value for name, value in row.items() if value is not None}) for row in written)
        raw = write(Path(folder) / "raw.jsonl", *lines)
        first, second = Path(folder) / "first.jsonl", Path(folder) / "second.jsonl"
        clean_files([raw], first, Cleaning(what, what))
        report = clean_files([first], second, Cleaning(what, what))
        assert second.read_bytes() == first.read_bytes()
        assert report.dropped == {} and report.mended == report.refused == 0
