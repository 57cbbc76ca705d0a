from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import DataError
from slmops.data.read import read_records, recognise_file
from slmops.tasks.classification import Classification
from slmops.tasks.types import Record

TASK = Classification(["membership", "order_status"])
GOOD = b'{"text": "Where is it?", "label": "order_status"}\n'


def read_labelled(path: Path, **options: Any) -> list[Record]:
    return read_records(path, read=TASK.read, check=TASK.check, answered=True, **options)


def refusal(path: Path, content: bytes, max_row_bytes: int = 1_000_000) -> str:
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_labelled(path, max_row_bytes=max_row_bytes)
    return str(refused.value)


def test_a_row_becomes_a_record_that_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(GOOD + b"\n" + '{"body": "ignored", "text": "Plus, bitte 🙂"}'.encode())
    first, second = read_records(path)
    assert (first.inputs, first.gold, first.source.file, first.source.line) == (
        {"text": "Where is it?"}, "order_status", "train.jsonl", 1,
    )  # fmt: skip
    assert (second.inputs["text"], second.gold, second.source.line) == ("Plus, bitte 🙂", None, 3)


def test_fields_can_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"body": "Where is it?", "intent": "order_status"}')
    (record,) = read_labelled(path, fields={"text": "body", "label": "intent"})
    assert record.inputs == {"text": "Where is it?"} and record.gold == "order_status"


def test_a_file_read_like_another_may_call_the_answer_otherwise(tmp_path: Path) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_text('{"document": "a b c", "summary": "a"}')
    test.write_text('{"document": "d e f", "summaries": ["d", "f"]}\n{"document": "g", "summaries": ["g"]}')
    like = recognise_file(train)
    assert like
    several, one = read_records(test, answered=True, like=like.unanswered())
    assert (several.gold, one.gold) == (["d", "f"], ["g"])
    (unanswered,) = read_records(test, like=like.unanswered())[:1]
    assert unanswered.gold is None
    test.write_text('{"document": "d e f", "other": "d"}')
    with pytest.raises(DataError, match="summary: found nothing, expected an answer"):
        read_records(test, answered=True, like=like.unanswered())


def test_an_id_stays_when_rows_move_and_a_repeated_text_gets_its_own(tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    one.write_text('{"text": "a"}\n{"text": "b"}\n{"text": "b"}\n')
    other.write_text('{"text": "b"}\n{"text": "c"}\n')
    ids = [record.id for record in read_records(one)]
    assert len(set(ids)) == 3 and ids[2] == f"{ids[1]}-2"
    assert read_records(other)[0].id == ids[1]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD)
    assert len(read_labelled(path)) == 1


@pytest.mark.parametrize(
    "row, told",
    [
        (b"Where is it?", "2: found no JSON"),
        (b'["Where is it?"]', "2: found a list, expected an object"),
        (b'{"txt": "x", "label": "membership"}', "2 · text: found the fields ['label', 'txt'], expected 'text'"),
        (b'{"text": "x\\u0000y", "label": "membership"}', "2 · text: found a NUL character"),
        (b'{"text": 7, "label": "membership"}', "2 · text: found a number, expected a string"),
        (b'{"text": " \\n", "label": "membership"}', "2 · text: found a blank text"),
        (b'{"text": "\\ud83d", "label": "membership"}', "2 · text: found half a character"),
        (b'{"text": "x"}', "2 · label: found nothing, expected a label — write it, or move the row"),
        (b'{"text": "x", "label": "membershp"}', "2 · label: found 'membershp', expected a label of the set — did you"),
        (b'{"text": "x", "label": "other"}', "2 · label: found 'other', expected a label of the set — write one of"),
        (b'{"text": "x", "label": ["membership"]}', "2 · label: found a list, expected a string"),
        (b'{"text": "x", "label": "membership", "score": NaN}', "2: found no JSON (NaN is not JSON)"),
        (b'{"text": "x", "n": ' + b"9" * 5000 + b"}", "2: found no JSON (Exceeds the limit"),
        (b"[" * 100_000, "2: found values nested too deep"),
        (b'{"text": "caf\xe9", "label": "membership"}', "2: found the byte 0xe9 at 14, expected UTF-8"),
        ('{"text": "x"}'.encode("utf-16"), "2: found the byte 0xff at 1, expected UTF-8"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_remedy(tmp_path: Path, row: bytes, told: str) -> None:
    path = tmp_path / "train.jsonl"
    sentence = refusal(path, GOOD + row + b"\n")
    assert sentence.startswith(f"{path}:{told}") and " — " in sentence


def test_a_row_of_ten_megabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "train.jsonl"
    path.write_bytes(GOOD + b'{"text": "' + b"x" * 10_000_000 + b'", "label": "membership"}\n')
    tracemalloc.start()
    with pytest.raises(DataError, match="2: found more than 1,000,000 bytes"):
        read_labelled(path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_the_limit_counts_a_rows_bytes_and_not_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(GOOD)
    assert read_records(path, max_row_bytes=len(GOOD) - 1)
    assert "more than" in refusal(path, GOOD, max_row_bytes=len(GOOD) - 2)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "has no rows" in refusal(tmp_path / "train.jsonl", content)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.jsonl", tmp_path):
        with pytest.raises(DataError, match=r"there is no such file|has no file of rows"):
            read_records(path)


def test_a_file_to_learn_from_has_an_answer_in_every_row(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "x", "label": "b"}\n{"text": "y"}\n')
    assert [record.gold for record in read_records(path)] == ["b", None]
    with pytest.raises(DataError, match=r"train\.jsonl:2 · label: found nothing, expected a label"):
        read_records(path, answered=True)


def test_a_label_has_no_spaces_around_it(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "x", "label": " b"}\n')
    with pytest.raises(DataError, match="without spaces"):
        read_records(path)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip),
        min_size=1,
        max_size=20,
    )
)
def test_every_text_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    records = read_records(path)
    assert [record.inputs["text"] for record in records] == texts
    assert len({record.id for record in records}) == len(texts)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_labelled(path, max_row_bytes=100)
