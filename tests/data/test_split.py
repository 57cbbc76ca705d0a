from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import DataError
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
