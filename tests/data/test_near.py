"""Texts that stand there twice are found, in a few rows and in many, and nothing else is."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.data import near, signatures
from slmops.data.grams import edits, grams, jaccard, normalise
from slmops.data.near import Match, similar_rows
from slmops.data.texts import Texts

WORDS = [f"{a}{b}{c}" for a in ("ka", "lo", "mi", "ru", "te") for b in ("ben", "dor", "fil", "gas") for c in "aeiou"]


def sentences(count: int, seed: int = 1) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(15, 40))) for _ in range(count)]


def mistyped(text: str, share: float, seed: int = 1) -> str:
    generator = random.Random(seed)
    chars = list(text)
    for place in generator.sample(range(len(chars)), round(share * len(chars))):
        chars[place] = generator.choice("abcdefghijklmnopqrstuvwxyz")
    return "".join(chars)


@pytest.mark.parametrize("rows", [40, 6_000])
def test_what_nearly_all_begin_and_end_with_makes_them_not_alike(rows: int) -> None:
    """A system prompt, a document that all questions are about; beside some without."""
    frame = " ".join(sentences(8, seed=3))
    asked = [f"ask {text}" for text in sentences(rows, seed=4)]
    texts = [f"{frame} {text} {frame[:200]}" if row % 10 else text for row, text in enumerate(asked)]
    again = f"{frame} {mistyped(asked[-1], 0.02)} {frame[:200]}"
    (match,) = similar_rows([*texts, again])
    assert (match.left, match.right) == (rows - 1, rows)


@given(st.text("ab", max_size=9), st.text("ab", max_size=9))
def test_edits_are_levenshteins_distance(left: str, right: str) -> None:
    row = list(range(len(right) + 1))
    for a, char in enumerate(left, 1):
        before, row[0] = row[0], a
        for b, other in enumerate(right, 1):
            before, row[b] = row[b], min(row[b] + 1, row[b - 1] + 1, before + (char != other))
    assert edits(left, right) == row[-1]


@given(st.lists(st.text("ab c", min_size=1, max_size=14), max_size=12), st.sampled_from((0.5, 0.8, 1.0)))
def test_of_few_rows_no_similar_pair_is_missed(texts: list[str], share: float) -> None:
    plain = [normalise(text) for text in texts]
    first = {text: row for row, text in reversed(list(enumerate(plain)))}
    expected = {(first[text], row) for row, text in enumerate(plain) if first[text] != row}
    expected |= {
        (a, b)
        for a in first.values() for b in first.values()
        if a < b and jaccard(grams(plain[a]), grams(plain[b])) >= share
    }  # fmt: skip
    assert {(match.left, match.right) for match in similar_rows(texts, share)} == expected


def test_a_long_text_with_typing_errors_is_near_and_a_short_one_with_another_number_is_not() -> None:
    (text,) = sentences(1)
    slips = mistyped(text, 0.05)
    (match,) = similar_rows([text, slips, "I need 2 tickets to Rome", "I need 3 tickets to Rome"])
    assert (match.left, match.right) == (0, 1) and match.similarity < 0.8


def test_many_rows_are_compared_by_signatures_and_planted_pairs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_EXACTLY", 0)
    texts = sentences(2000)
    slips = [mistyped(text, 0.05, seed) for seed, text in enumerate(texts[:200])]
    found = {(match.left, match.right) for match in similar_rows(texts + slips)}
    planted = {(row, 2000 + row) for row in range(200)}
    assert found <= planted and len(found) >= 190


def test_slices_and_parts_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_EXACTLY", 0)
    texts = sentences(300)
    texts += [mistyped(text, 0.02, seed) for seed, text in enumerate(texts[:50])]
    whole = similar_rows(texts)
    monkeypatch.setattr(signatures, "_SLICE", 64)
    monkeypatch.setattr(signatures, "_SORTED", 100)
    monkeypatch.setattr(signatures, "_PAIRS", 16)
    monkeypatch.setattr(near, "_BATCH", 7)
    assert similar_rows(texts) == whole and len(whole) >= 50


def test_the_same_text_a_thousand_times_is_a_thousand_pairs_with_the_first() -> None:
    matches = similar_rows(["Where is it?", *["where is IT"] * 1000])
    assert matches == [Match(0, row, 1.0) for row in range(1, 1001)]


def test_thousands_of_look_alikes_do_not_become_millions_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_EXACTLY", 0)
    (text,) = sentences(1)
    matches = similar_rows([*(f"{text} {number}" for number in range(3000)), *sentences(1000, seed=2)])
    reached = {0}
    for match in matches:
        if match.left in reached:
            reached.add(match.right)
    assert len(matches) < 3000 * signatures._NEIGHBOURS * 64 and len(reached) > 2900


@given(st.lists(st.text(max_size=40), min_size=1, max_size=20))
def test_any_text_comes_back_from_disk(texts: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        kept = Texts(Path(folder))
        kept.add(texts)
        kept.flush()
        assert [kept[row] for row in range(len(texts))] == texts
        assert [text for batch in kept.batches(3) for text in batch] == texts
        assert kept.first_rows().tolist() == [texts.index(text) for text in texts]
        kept.close()


@given(st.lists(st.text(max_size=30), min_size=2, max_size=6))
def test_a_signature_depends_on_its_text_alone(texts: list[str]) -> None:
    together = signatures.minhash(texts)
    alone = np.concatenate([signatures.minhash([text]) for text in texts])
    assert (together == alone).all()


def test_no_rows_have_no_pairs() -> None:
    assert similar_rows([]) == []
    assert similar_rows(["", " "]) == [Match(0, 1, 1.0)]
