"""Rows that leave nothing to learn, or are longer than a model takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import DataError
from slmops.models.packing import Example
from slmops.training.examples import to_examples, within


def lesson(row: str, asked: int, answered: int, begin: int = 100) -> tuple[str, tuple[int, ...], tuple[bool, ...]]:
    ids = (*range(20), *range(begin, begin + asked), *range(1000, 1000 + answered))
    return row, ids, (False,) * (20 + asked) + (True,) * answered


def test_a_row_that_leaves_nothing_to_learn_is_named() -> None:
    with pytest.raises(DataError, match="nothing is to be learned of 1 rows: idle — give them an answer"):
        to_examples([lesson("good", 5, 2), lesson("idle", 5, 0)])


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 5)), min_size=1, max_size=8), st.integers(40, 70))
def test_what_is_cut_fits_and_keeps_its_answer_and_its_ends(sizes: list[tuple[int, int]], longest: int) -> None:
    examples = to_examples([lesson(str(n), *size, begin=100 * (n + 1)) for n, size in enumerate(sizes)])
    kept, longer = within(examples, longest, "cut", str)
    assert len(longer) == sum(20 + asked + answered > longest for asked, answered in sizes)
    for before, after in zip(examples, kept, strict=True):
        ids, whole = sum(after.path, ()), sum(before.path, ())
        assert len(ids) == min(len(whole), longest)
        assert learned(after) == learned(before)
        assert ids[0] == whole[0] and set(ids) <= set(whole) and sorted(ids) == list(ids)
        assert len(after.learn) == len(after.path[-1])


def learned(example: Example) -> list[int]:
    return [token for token, known in zip(example.path[-1], example.learn, strict=True) if known]


def test_rows_that_are_too_long_are_left_out_or_end_it() -> None:
    examples = to_examples([lesson("short", 5, 2), lesson("long", 50, 2)])
    copies = [replace(example, row=f"{example.row}#{epoch}") for epoch in (1, 2) for example in examples]
    assert within([*examples, *copies], 40, "drop", str)[1] == ("long",)
    kept, longer = within(examples, 40, "drop", str)
    assert ([example.row for example in kept], longer) == (["short"], ("long",))
    with pytest.raises(DataError, match=r"training · long: 'text of long' has 72 tokens, the model takes 40 — shorten"):
        within(examples, 40, "stop", lambda row: f"text of {row}")
    several = [replace(example, row=f"{example.row}-{n}") for n in range(5) for example in examples[1:]]
    with pytest.raises(DataError, match="takes 40; so it is with 4 more rows: long-1, long-2, long-3 — shorten"):
        within([*several, *(replace(one, row=f"{one.row}#1") for one in several)], 40, "stop", str)
    with pytest.raises(DataError, match="has 72 tokens, the model takes 2 "):
        within(examples[1:], 2, "cut", str)
    with pytest.raises(DataError, match="all 2 rows are longer than 10 tokens"):
        within(examples, 10, "drop", str)
