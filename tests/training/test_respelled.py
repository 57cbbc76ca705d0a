"""A teacher's distributions in the tokens of a student that has others."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.models.families import end_token, family_of
from slmops.models.packing import Example
from slmops.models.spelling import Spelling
from slmops.models.tokenizer import Ids, Tokenizer
from slmops.training.respelled import SaidTokens, respelled_row
from tests.tiny import TEXTS, write_sentencepiece

WORDS = st.lists(st.sampled_from(sorted({word for text in TEXTS for word in text.split()})), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def joined(tiny_tokenizer: Path) -> Tokenizer:
    """Words are few tokens."""
    return Tokenizer(tiny_tokenizer)


@pytest.fixture(scope="module")
def bytewise(tiny_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Every byte is a token."""
    folder = tmp_path_factory.mktemp("bytewise")
    described = json.loads((tiny_tokenizer / "tokenizer.json").read_text())
    model = described["model"]
    singles = {token: id for token, id in model["vocab"].items() if len(token) == 1 or token.startswith("<|")}
    model["vocab"], model["merges"] = {token: at for at, token in enumerate(singles)}, []
    for token in described["added_tokens"]:
        token["id"] = model["vocab"][token["content"]]
    (folder / "tokenizer.json").write_text(json.dumps(described))
    return Tokenizer(folder)


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("sentencepiece") / "tokenizer"
    write_sentencepiece(folder, ("<|im_start|>", "<|im_end|>"))
    return Tokenizer(folder)


def written(tokenizer: Tokenizer, text: str) -> Ids:
    return (*tokenizer.encode(text), end_token(tokenizer, family_of(tokenizer)))


def respell(
    answer: Ids, read: Ids, said: list[SaidTokens], student: Spelling, teacher: Spelling
) -> list[dict[int, float]] | None:
    """Of one answer, behind one token that asks."""
    own, other = (Example("row", ((0, *ids),), (False, *[True] * len(ids))) for ids in (answer, read))
    return respelled_row(own, other, said, student, teacher)


def says(tokenizer: Tokenizer, ids: Ids, seed: int) -> list[SaidTokens]:
    """A random distribution over all that the tokenizer has, at each token."""
    chance, found = np.random.default_rng(seed), []
    for id in ids:
        logits = chance.normal(0, 2, tokenizer.vocabulary_size)
        odds = np.exp(logits) / np.exp(logits).sum()
        found.append(SaidTokens(dict(enumerate(odds.tolist())), float(odds[id])))
    return found


@given(words=WORDS, seed=st.integers(0, 99))
def test_in_its_own_tokens_a_teacher_says_what_it_said(joined: Tokenizer, words: list[str], seed: int) -> None:
    """But for tokens that no text is encoded to, whose mass goes to those that their text begins with."""
    answer, spelling = written(joined, " ".join(words)), Spelling(joined)
    said = says(joined, answer, seed)
    found = respell(answer, answer, said, spelling, spelling)
    assert found is not None
    for at, (one, target) in enumerate(zip(said, found, strict=True)):
        expected: dict[int, float] = defaultdict(float)
        for id, value in one.likeliest.items():
            piece = spelling.piece(id, first=at == 0)
            if id == answer[-1] or id == answer[at]:
                expected[id] += value
            elif piece is not None:
                expected[spelling.first_token(piece, first=at == 0) or -1] += value
        assert target == pytest.approx(expected)


@given(words=WORDS, seed=st.integers(0, 99))
def test_a_token_is_as_likely_as_the_bytes_it_is_made_of(
    joined: Tokenizer, bytewise: Tokenizer, words: list[str], seed: int
) -> None:
    """Of a teacher that writes byte by byte, the answer's tokens get the product over theirs."""
    text = " ".join(words)
    answer, read, own = written(joined, text), written(bytewise, text), Spelling(joined)
    said = says(bytewise, read, seed)
    found = respell(answer, read, said, own, Spelling(bytewise))
    assert found is not None
    at = 0
    for token, target in zip(answer, found, strict=True):
        length = len(own.piece(token, first=False) or b"?")
        product = np.prod([one.there for one in said[at : at + length]])
        assert target[token] == pytest.approx(product)
        others = sum(value for id, value in target.items() if id != token)
        assert others <= 1 - said[at].there + 1e-9
        at += length


@given(words=WORDS, seed=st.integers(0, 99))
def test_inside_a_teachers_token_only_those_count_that_begin_as_the_text(
    joined: Tokenizer, bytewise: Tokenizer, words: list[str], seed: int
) -> None:
    """A student that writes byte by byte learns each byte's share among the teacher's tokens that go on with it."""
    text = " ".join(words)
    answer, read, whole = written(bytewise, text), written(joined, text), Spelling(joined)
    said, own = says(joined, read, seed), Spelling(bytewise)
    found = respell(answer, read, said, own, whole)
    assert found is not None
    pieces = [whole.piece(id, first=False) or b"" for id in read[:-1]]
    starts = [0, *np.cumsum([len(piece) for piece in pieces]).tolist()]
    letter = {own.piece(id, first=False): id for id in range(bytewise.vocabulary_size)}
    for place, (start, end) in enumerate(pairwise(starts)):
        for at in range(start, end):
            before = text.encode()[start:at]
            odds: dict[int, float] = defaultdict(float)
            among = 0.0
            for id, value in said[place].likeliest.items():
                piece = whole.piece(id, first=False)
                if piece is not None and piece.startswith(before):
                    among += value
                    if len(piece) > len(before):
                        odds[letter[piece[len(before) :][:1]]] += value
            if not before:
                odds[answer[-1]] += said[place].likeliest[read[-1]]
            share = among if before else 1.0
            assert found[at] == pytest.approx({id: value / share for id, value in odds.items()})


@given(words=WORDS, seed=st.integers(0, 99))
def test_between_any_two_no_mass_is_invented(
    joined: Tokenizer, sentencepiece: Tokenizer, words: list[str], seed: int
) -> None:
    text = " ".join(words)
    for student, teacher in ((joined, sentencepiece), (sentencepiece, joined)):
        answer, read = written(student, text), written(teacher, text)
        found = respell(answer, read, says(teacher, read, seed), Spelling(student), Spelling(teacher))
        assert found is not None and len(found) == len(answer)
        assert all(sum(target.values()) <= 1 + 1e-9 for target in found)
        assert all(target.get(token, 0) > 0 for token, target in zip(answer, found, strict=True))


def test_answers_of_other_bytes_are_not_respelled(joined: Tokenizer, bytewise: Tokenizer) -> None:
    answer, read = written(joined, "refund"), written(bytewise, "refunds")
    assert respell(answer, read, says(bytewise, read, 1), Spelling(joined), Spelling(bytewise)) is None
