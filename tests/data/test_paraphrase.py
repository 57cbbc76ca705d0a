"""Copies in other words are kept where they say the same, as far as can be told; what cannot be told is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from slmops.core.errors import DataError
from slmops.data.enlarge import Enlarged, Enlarging, augment_file
from slmops.data.history import read_history
from slmops.data.paraphrase import reworded
from slmops.tasks.types import Message

WORDS = {
    "refund": ["money back", "charged twice", "refund", "payment returned", "my card"],
    "track": ["where is it", "parcel late", "courier", "tracking", "arrive"],
}


def write(path: Path, column: str = "label") -> Path:
    rows = [
        {"text": f"{one} and {other} please, order {number}", column: name}
        for name, words in WORDS.items()
        for number, (one, other) in enumerate((a, b) for a in words for b in words if a != b)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def augmented(tmp_path: Path, say: dict[str, str | None] | str, rows: Path | None = None) -> tuple[Enlarged, list[str]]:
    """Lets a model say one thing for each label that it meets, with the text's own number."""

    def ask(asked: Sequence[Sequence[Message]]) -> list[str | None]:
        said = []
        for messages in asked:
            text = messages[-1].content.rpartition("\n")[2]
            label = "refund" if any(words in text for words in WORDS["refund"]) else "track"
            answer = say if isinstance(say, str) else say[label]
            said.append(answer and answer.replace("N", text.split()[-1]))
        return said

    out = tmp_path / "more.jsonl"
    report = augment_file(rows or write(tmp_path / "rows.jsonl"), out, Enlarging(copies=1), 0, ask=ask)
    return report, [json.loads(line)["text"] for line in out.read_text().splitlines()[report.rows :]]


def test_copies_in_other_words_keep_number_and_label(tmp_path: Path) -> None:
    said = {"refund": '"I was charged twice, refund order N"', "track": "Here you go:\n\nThe parcel of order N is late"}
    report, copies = augmented(tmp_path, said)
    assert report.made == {"in other words": 40} and report.left_out == {
        "no other text, or other numbers": 0,
        "another label, as it seems": 0,
    }
    assert copies[0] == "I was charged twice, refund order 0" and copies[20] == "The parcel of order 0 is late"
    (event,) = read_history(tmp_path / "more.jsonl", 41)
    assert event.came_from == "rows.jsonl:1" and event.steps[0]["did"] == "copied in other words"


def test_what_means_another_label_is_left_out(tmp_path: Path) -> None:
    report, copies = augmented(tmp_path, "the parcel is late, where is order N")
    assert report.left_out["another label, as it seems"] == 20 and len(copies) == 20


@pytest.mark.parametrize("said", [None, "", "order", "no number here at all", "word " * 60 + "N", "one\n\ntwo order N"])
def test_what_is_no_other_text_is_left_out(tmp_path: Path, said: str | None) -> None:
    report, copies = augmented(tmp_path, {"refund": said, "track": said})
    assert copies == [] and report.left_out["no other text, or other numbers"] == 40


def test_the_same_text_again_is_no_other() -> None:
    assert reworded(["Where is it?"], lambda asked: ["where is IT"]) == [None]


def test_labels_that_no_model_can_tell_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"one {n}", "label": "ab"[n % 2]}) + "\n" for n in range(40)))
    with pytest.raises(DataError, match="too few to check"):
        augmented(tmp_path, "anything N", path)
    assert not (tmp_path / "more.jsonl").exists()


def test_conversations_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "hello"}]}) + "\n")
    with pytest.raises(DataError, match="found a list, expected a text"):
        augmented(tmp_path, "anything N", path)


def test_answers_that_are_no_labels_are_not_checked_but_for_numbers(tmp_path: Path) -> None:
    report, _ = augmented(tmp_path, "the parcel is late, where is order N", write(tmp_path / "rows.jsonl", "response"))
    assert report.made == {"in other words": 20 + 20}
