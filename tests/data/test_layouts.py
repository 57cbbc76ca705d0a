from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import DataError
from slmops.data.layouts import LAYOUTS, recognise
from slmops.data.read import read_records, recognise_file

TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def parts(row: dict[str, Any], **named: str) -> dict[str, Any]:
    return recognise(row, "data.jsonl:1", named).parts(row, "data.jsonl:1")


def refusal(row: dict[str, Any], **named: str) -> str:
    with pytest.raises(DataError) as refused:
        parts(row, **named)
    return str(refused.value)


@pytest.mark.parametrize(
    "name, row, expected",
    [
        ("messages", {"messages": TURNS}, {"text": "hi", "answer": "hello"}),
        (
            "messages",
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
            {"messages": TURNS},
        ),
        (
            "premise + hypothesis + label",
            {"sentence1": "It rains.", "sentence2": "It is dry.", "gold_label": "contradiction"},
            {"premise": "It rains.", "hypothesis": "It is dry.", "label": "contradiction", "answer": "contradiction"},
        ),
        (
            "context + question + answer",
            {"context": "Rome is old.", "question": "What is old?", "answers": {"text": ["Rome"], "answer_start": [0]}},
            {"answer": ["Rome"], "question": "What is old?"},
        ),
        ("question + answer", {"question": "2 + 2?", "answer": 4}, {"text": "2 + 2?", "answer": "4"}),
        ("document + summary", {"article": "Long.", "highlights": "Short."}, {"text": "Long.", "answer": "Short."}),
        ("document + summary", {"text": "Long.", "summary": "Short."}, {"document": "Long.", "summary": "Short."}),
        (
            "instruction + input + output",
            {"instruction": "Translate.", "input": "ja", "output": "yes"},
            {"text": "Translate.\n\nja", "answer": "yes"},
        ),
        (
            "instruction + input + output",
            {"instruction": "Say yes.", "input": "", "output": "yes"},
            {"text": "Say yes.", "answer": "yes"},
        ),
        ("prompt + completion", {"prompt": "a", "completion": "b"}, {"text": "a", "answer": "b"}),
        ("input + output", {"input": "a", "output": "b"}, {"text": "a", "answer": "b"}),
        ("source + target", {"source": "ja", "target": "yes"}, {"text": "ja", "answer": "yes"}),
        (
            "text + label",
            {"Text": "Where?", "Intent": "track"},
            {"text": "Where?", "label": "track", "answer": "track"},
        ),
        (
            "text + entities",
            {"text": "To Rome!", "entities": [{"start": 3, "end": 7, "label": "city"}]},
            {"entities": {"city": ["Rome"]}},
        ),
        ("text + entities", {"text": "To Rome!", "slots": {"city": "Rome"}}, {"answer": {"city": "Rome"}}),
        (
            "task + code",
            {"prompt": "Add.", "canonical_solution": "a + b", "test": "assert 1"},
            {"text": "Add.", "code": "a + b", "tests": "assert 1"},
        ),
    ],
)
def test_a_layout_is_recognised_by_its_columns(name: str, row: dict[str, Any], expected: dict[str, Any]) -> None:
    assert recognise(row, "data.jsonl:1").layout.name == name
    found = parts(row)
    assert {part: found[part] for part in expected} == expected


def test_every_layout_recognises_a_row_of_its_own_names() -> None:
    for layout in LAYOUTS:
        row = {field.name: "x" for field in layout.fields}
        assert recognise(row, "data.jsonl:1").layout is layout


def test_a_named_column_overrules_the_usual_names() -> None:
    row = {"text": "internal note", "body": "Where is it?", "queue": "track", "customer": "c1"}
    found = parts(row, text="body", label="queue", group="customer")
    assert (found["text"], found["label"], found["group"]) == ("Where is it?", "track", "c1")
    assert "did you mean body?" in refusal(row, text="bdy")


def test_columns_that_mean_nothing_are_passed_on() -> None:
    assert parts({"text": "x", "resolution": "MOVE", "n": 3})["resolution"] == "MOVE"


@pytest.mark.parametrize(
    "row, told",
    [
        ({"messages": [TURNS[1]]}, "messages.0: found a turn of the assistant, expected one of the user — begin with"),
        ({"messages": [TURNS[0], TURNS[0]]}, "messages.1: found a turn of the user, expected one of the assistant"),
        ({"messages": []}, "found an empty list, expected a list of turns"),
        ({"messages": "hi"}, "found a string, expected a list of turns"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: found 'tool', expected system, user or"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages.0.content: found a blank text"),
        ({"messages": [{"role": "system", "content": "Be kind."}]}, "found no turn of a user"),
        ({"text": "Rome", "entities": [{"start": 0, "end": 9, "label": "city"}]}, "the span 0…9, expected offsets"),
        ({"text": "Rome", "entities": [{"begin": 0}]}, "entities.0: found an object, expected a span"),
        ({"question": "b", "answer": []}, "found an empty list, expected one answer or more"),
    ],
)
def test_a_part_that_cannot_be_used_is_named(row: dict[str, Any], told: str) -> None:
    sentence = refusal(row)
    assert sentence.startswith("data.jsonl:1 · ") and told in sentence


def test_a_row_of_another_layout_in_the_same_file_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"question": "a", "answer": "b"}\n{"instruction": "c", "output": "d"}\n')
    with pytest.raises(DataError) as refused:
        read_records(path)
    assert "mixed.jsonl:2 · question: found a row of instruction + input + output, expected question + answer" in str(
        refused.value
    )


def test_what_a_file_holds_is_judged_by_its_first_good_row(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('no JSON\n{"premise": "a", "hypothesis": "b"}\n')
    found = recognise_file(path)
    assert found and found.layout.name.startswith("premise")
    path.write_text("\n")
    assert recognise_file(path) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_COLUMNS = st.sampled_from(sorted({name for layout in LAYOUTS for f in layout.fields for name in (f.name, *f.also)}))


@given(st.lists(st.dictionaries(_COLUMNS, _JSON, max_size=4), min_size=1, max_size=3))
def test_any_columns_and_values_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused: list[DataError] = []
    try:
        records = read_records(path, on_error=lambda error, row: refused.append(error))
    except DataError:
        return
    assert len(records) + len(refused) == len(rows)
    assert all(record.text.strip() for record in records)
