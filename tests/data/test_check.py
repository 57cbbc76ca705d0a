from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import DataError
from slmops.data.check import check_splits, repeated_ngrams, similar_across, similar_within
from slmops.data.grams import normalise
from slmops.tasks.types import Record, Source


def records(file: str, *texts: str) -> list[Record]:
    return [
        Record(f"{file}{line}", {"text": text}, None, Source(f"{file}.jsonl", line))
        for line, text in enumerate(texts, 1)
    ]


TEST = records("test", "Where is my order? It should have come on Monday.", "Please stop my membership.")


def test_a_message_in_train_and_test_is_refused_with_both_lines() -> None:
    train = records("train", "My lamp broke.", "please  STOP my membership")
    with pytest.raises(DataError, match=r"train\.jsonl:2 and test\.jsonl:2 — remove them from train\.jsonl"):
        check_splits(train, TEST)


def test_a_message_that_is_only_similar_is_not_refused() -> None:
    train = records("train", "Where is my order?? It should have come on a Monday", "My lamp broke.")
    check_splits(train, TEST)
    (pair,) = similar_across(train, TEST)
    assert pair.right == TEST[0] and 0.8 <= pair.similarity < 1


def test_normalising_leaves_letters_marks_and_digits() -> None:
    assert normalise("  Where's  MY order №5?!\n") == "where s my order no5"
    assert normalise("हिन्दी।") == "हिन्दी"
    assert normalise("Ｈello ß") == "hello ss"


def test_messages_of_symbols_alone_are_told_apart() -> None:
    assert normalise("🙂") != normalise("🙁")


def jaccard(left: str, right: str) -> float:
    sets = [{text[at : at + 5] for at in range(max(1, len(text) - 4))} for text in (normalise(left), normalise(right))]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


TEXTS = st.lists(st.text("ab c", min_size=1, max_size=14), max_size=12)


@given(TEXTS, TEXTS, st.sampled_from((0.3, 0.5, 0.8, 1.0)))
def test_no_similar_pair_is_missed(left: list[str], right: list[str], near: float) -> None:
    found = {
        (pair.left.id, pair.right.id)
        for pair in similar_across(records("l", *left), records("r", *right), near)
    }  # fmt: skip
    assert found == {
        (f"l{a}", f"r{b}")
        for a, one in enumerate(left, 1) for b, other in enumerate(right, 1) if jaccard(one, other) >= near
    }  # fmt: skip


def test_twins_within_a_file_are_found_once() -> None:
    (pair,) = similar_within(records("train", "Where is it?", "Something else", "where is it"))
    assert (pair.left.id, pair.right.id, pair.similarity) == ("train1", "train3", 1.0)


def test_repeated_runs_of_words_are_counted_once_a_message() -> None:
    texts = ("my order has not come yet", "So my order has not come!", "a b c d e a b c d e")
    assert repeated_ngrams(records("train", *texts)) == [("my order has not come", 2)]
