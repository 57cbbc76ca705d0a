"""Noisy copies are made as asked, told of, and never of what is measured on."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import DataError
from slmops.data.enlarge import Enlarged, Enlarging, augment_file
from slmops.data.grams import edits
from slmops.data.history import read_history
from slmops.data.noise import KINDS, Kind, add_noise

TEXT = "Where is the café that we saw on the 25th of May, near the old station?"
ROWS = [{"id": n, "text": f"{TEXT} {n}", "label": "rare" if n < 2 else "common"} for n in range(12)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def augmented(
    folder: Path, *, seed: int = 1, apart_from: tuple[Path, ...] = (), **how: Any
) -> tuple[Enlarged, list[Any]]:
    path = write(folder / "train.jsonl", ROWS)
    report = augment_file(path, folder / "more.jsonl", Enlarging(**how), seed, apart_from=apart_from)
    return report, read(folder / "more.jsonl")


@given(st.text(), st.sampled_from(KINDS), st.integers())
def test_noise_leaves_numbers_alone(text: str, kind: Kind, seed: int) -> None:
    def digits(of: str) -> list[str]:
        return [char for char in of if char in "0123456789"]

    assert digits(add_noise(text, kind, random.Random(seed))) == digits(text)


def test_each_kind_does_what_its_name_says() -> None:
    noisy = {kind: add_noise(TEXT, kind, random.Random(3)) for kind in KINDS}
    assert noisy["accents"] == TEXT.replace("é", "e")
    assert noisy["casing"] != TEXT and noisy["casing"].casefold() == TEXT.casefold()
    assert noisy["whitespace"] != TEXT and noisy["whitespace"].replace(" ", "") == TEXT.replace(" ", "")
    assert 1 <= edits(noisy["typos"], TEXT) <= 6


def test_copies_stand_behind_the_rows_with_their_columns_and_a_history(tmp_path: Path) -> None:
    report, rows = augmented(tmp_path, copies=2)
    assert rows[:12] == ROWS and report.rows == 12 and sum(report.made.values()) == len(rows) - 12 == 24
    assert len({row["text"] for row in rows}) == len(rows)
    assert Counter(row["id"] for row in rows) == {n: 3 for n in range(12)}
    (event,) = read_history(tmp_path / "more.jsonl", 13)
    assert event.came_from == "train.jsonl:1" and event.steps[0]["after"] == rows[12]["text"]
    assert event.steps[0]["did"].startswith("copied with noise: ")


def test_the_seed_decides(tmp_path: Path) -> None:
    one, again, other = (augmented(tmp_path, seed=seed)[1] for seed in (1, 1, 2))
    assert one == again != other


def test_rare_labels_are_filled_and_others_left(tmp_path: Path) -> None:
    report, rows = augmented(tmp_path, copies=0, fill_rare=9)
    assert Counter(row["label"] for row in rows) == {"rare": 9, "common": 10} and report.still_rare == {}


def test_a_label_too_small_to_be_filled_is_told(tmp_path: Path) -> None:
    report, rows = augmented(tmp_path, copies=0, fill_rare=1000, kinds=("accents",))
    assert Counter(row["label"] for row in rows) == {"rare": 4, "common": 20}
    assert report.still_rare == {"rare": 4, "common": 20}


def test_no_copy_has_a_text_of_the_test(tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", [{"text": ROWS[3]["text"].replace("é", "e"), "label": "common"}])
    report, rows = augmented(tmp_path, apart_from=(test,), kinds=("accents",))
    assert report.left_out["like a row of --apart-from"] >= 1
    assert "cafe that" not in " ".join(row["text"] for row in rows if row["id"] == 3)


def test_answers_that_point_into_the_text_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "slots.jsonl", [{"text": "to Rome", "slots": {"city": "Rome"}}])
    with pytest.raises(DataError, match="words of the texts"):
        augment_file(path, tmp_path / "more.jsonl", Enlarging(), 1)


def test_of_a_conversation_only_the_user_slips(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": TEXT}, {"role": "assistant", "content": "Near the river, I think."}]
    path = write(tmp_path / "turns.jsonl", [{"messages": turns}])
    augment_file(path, tmp_path / "more.jsonl", Enlarging(("typos",)), 1)
    user, assistant = read(tmp_path / "more.jsonl")[1]["messages"]
    assert assistant == turns[1] and user["content"] != TEXT
