from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import DataError
from slmops.data.divide import split_file
from slmops.data.history import read_history
from slmops.data.split import split
from slmops.tasks.types import Record, Source


def record(name: str, label: str, text: str = "", group: str | None = None) -> Record:
    text = text or hashlib.sha256(name.encode()).hexdigest()
    return Record(name, {"text": text}, label, Source("train.jsonl", 1), group=group)


MANY = [record(f"{label}{row}", label) for label, count in (("a", 40), ("b", 20), ("c", 3)) for row in range(count)]


@given(st.floats(0.01, 0.99), st.integers(0, 1000))
def test_each_label_gives_its_share_and_stands_on_both_sides(share: float, seed: int) -> None:
    train, validation = split(MANY, share, seed)
    assert sorted(record.id for record in (*train, *validation)) == sorted(record.id for record in MANY)
    of_train, of_validation = (Counter(record.gold for record in side) for side in (train, validation))
    for label, count in Counter(record.gold for record in MANY).items():
        assert min(of_train[label], of_validation[label]) >= 1
        assert abs(of_validation[label] - share * count) <= 1


def test_the_seed_decides_and_order_does_not() -> None:
    chosen = {record.id for record in split(MANY, 0.2, seed=1)[1]}
    assert {record.id for record in split(MANY[::-1], 0.2, seed=1)[1]} == chosen
    assert {record.id for record in split(MANY, 0.2, seed=2)[1]} != chosen


def test_a_new_row_moves_no_more_than_one_old_one() -> None:
    before = {record.id for record in split(MANY, 0.2, seed=1)[1]}
    after = {record.id for record in split([*MANY, record("new", "a")], 0.2, seed=1)[1]}
    assert len(before - after) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_twins_and_groups_stay_together(seed: int) -> None:
    twins = [
        record("t1", "a", "Where is my order?"),
        record("t2", "a", "where is my ORDER"),
        record("t3", "b", "Hello"),
    ]
    grouped = [record("g1", "a", group="thread"), record("g2", "b", group="thread")]
    sides = [{record.id for record in side} for side in split([*MANY, *twins, *grouped], 0.3, seed)]
    for together in ({"t1", "t2"}, {"g1", "g2"}):
        assert any(together <= side for side in sides)


@pytest.mark.parametrize(
    "small",
    [
        [record("x", "x")],
        [record("x1", "x", "Where is my order?"), record("x2", "x", "where is my order")],
        [record("x1", "a", "Where is my order?"), record("x2", "x", "where is my order")],
    ],
)
def test_a_label_too_small_for_both_sides_is_refused(small: list[Record]) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl:1: the label 'x'"):
        split([*MANY, *small], 0.2, seed=1)


def rows(count: int, label: str = "a") -> list[dict[str, str]]:
    return [{"text": hashlib.sha256(f"{label}{row}".encode()).hexdigest(), "label": label} for row in range(count)]


def write(path: Path, content: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def sides(folder: Path) -> dict[str, list[dict[str, str]]]:
    return {name: [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()] for name in NAMES}


NAMES = ("train", "validation", "test")
SHARES = {"validation": 0.1, "test": 0.2}


def test_a_file_becomes_three_with_all_labels_in_their_shares(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", rows(100) + rows(30, "b") + rows(3, "c"))
    report = split_file(path, tmp_path / "out", SHARES, seed=1)
    found = sides(tmp_path / "out")
    assert {name: len(found[name]) for name in NAMES} == report.rows == {"train": 92, "validation": 14, "test": 27}
    assert all({row["label"] for row in found[name]} == {"a", "b", "c"} for name in NAMES)
    assert sorted(row["text"] for name in NAMES for row in found[name]) == sorted(
        row["text"] for row in rows(100) + rows(30, "b") + rows(3, "c")
    )


def test_what_is_alike_or_of_one_group_stands_on_one_side(tmp_path: Path) -> None:
    many = rows(60)
    near = [{**row, "text": row["text"] + " x"} for row in many[:20]]
    threads = [{"text": f"{row} {word}", "label": "a", "thread": word} for word in ("one", "two") for row in range(9)]
    report = split_file(
        write(tmp_path / "all.jsonl", many + near + threads), tmp_path / "out", SHARES, seed=3, group="thread"
    )
    side_of = {row["text"]: name for name, content in sides(tmp_path / "out").items() for row in content}
    assert all(side_of[row["text"]] == side_of[row["text"] + " x"] for row in many[:20])
    assert all(len({side_of[row["text"]] for row in threads if row["thread"] == word}) == 1 for word in ("one", "two"))
    assert report.together == 58


def test_added_rows_move_few_of_the_old(tmp_path: Path) -> None:
    def test_of(content: list[dict[str, str]], name: str) -> set[str]:
        split_file(write(tmp_path / f"{name}.jsonl", content), tmp_path / name, SHARES, seed=1)
        return {row["text"] for row in sides(tmp_path / name)["test"]}

    before = test_of(rows(200), "before")
    assert len(before - test_of(rows(210), "after")) <= 2
    assert before == test_of(rows(200)[::-1], "turned")


def test_a_row_tells_where_it_stood(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", rows(40))
    split_file(path, tmp_path / "out", SHARES, seed=1)
    (event,) = read_history(tmp_path / "out" / "test.jsonl", 2)
    assert (
        json.loads(path.read_text().splitlines()[int(event.came_from.split(":")[1]) - 1])
        == sides(tmp_path / "out")["test"][1]
    )


def test_a_label_too_small_for_three_files_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", rows(40) + rows(2, "few"))
    with pytest.raises(
        DataError, match=r"all\.jsonl:41: the label 'few' has 2 messages that are not alike; expected 3"
    ):
        split_file(path, tmp_path / "out", SHARES, seed=1)
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_free_answers_are_one_stratum(tmp_path: Path) -> None:
    content = [{"question": row["text"], "answer": row["text"][:5]} for row in rows(50)]
    report = split_file(write(tmp_path / "all.jsonl", content), tmp_path / "out", SHARES, seed=1)
    assert report.rows == {"train": 35, "validation": 5, "test": 10}


def test_a_row_that_cannot_be_used_is_not_lost_silently(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", [*rows(40), {"text": "", "label": "a"}])
    with pytest.raises(DataError, match=r"all\.jsonl:41.*slmops data clean"):
        split_file(path, tmp_path / "out", SHARES, seed=1)
