"""A closed set of answers cannot be left, whatever the model says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from slmops.runtimes.decoding import common_length, decode, room_for_answer
from slmops.runtimes.trie import TokenTrie
from slmops.runtimes.types import Ids, Limits, Request, Sampling

VOCABULARY, END = 12, 0
answers = st.lists(st.lists(st.integers(1, VOCABULARY - 1), max_size=5).map(tuple), min_size=1, max_size=8)


def random_logits(seed: int, fed: Ids) -> NDArray[np.float32]:
    """A model: logits that depend on all it was fed."""
    return np.random.default_rng((seed, *fed)).normal(0, 5, VOCABULARY).astype(np.float32)


def told_by(trie: TokenTrie, seed: int) -> dict[Ids, dict[int, float]]:
    return {branch: trie.logprobs_at(branch, random_logits(seed, (1, 2, 3, *branch))) for branch in trie.branches()}


def written_by(trie: TokenTrie, seed: int, sampling: Sampling) -> tuple[Ids, float]:
    request = Request("r", (1, 2, 3), sampling, trie)
    fed: list[int] = []

    def step(ids: Ids) -> NDArray[np.float32]:
        fed.extend(ids)
        return random_logits(seed, tuple(fed))

    room = room_for_answer(request, Limits(100))
    chunks = list(decode(request, room, request.prompt, 0, step, frozenset({END})))
    assert [chunk.finish for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    return sum((chunk.ids for chunk in chunks), ()), sum(sum(chunk.logprobs) for chunk in chunks)


@given(answers=answers, seed=st.integers(0, 2**32), temperature=st.sampled_from([0.0, 0.5, 3.0]))
def test_decoding_along_the_trie_ends_in_the_set(answers: list[Ids], seed: int, temperature: float) -> None:
    trie = TokenTrie(answers, END)
    written, _ = written_by(trie, seed, Sampling(max_tokens=1, temperature=temperature, seed=seed))
    assert written in trie.answers


@given(answers=answers, seed=st.integers(0, 2**32))
def test_the_answers_probabilities_sum_to_one(answers: list[Ids], seed: int) -> None:
    trie = TokenTrie(answers, END)
    at_branches = told_by(trie, seed)
    assert np.exp(trie.answer_logprobs(at_branches)).sum() == pytest.approx(1)


@given(answers=answers, seed=st.integers(0, 2**32))
def test_the_answer_written_has_the_probability_it_has_among_all(answers: list[Ids], seed: int) -> None:
    trie = TokenTrie(answers, END)
    written, logprob = written_by(trie, seed, Sampling(temperature=1.0, seed=seed))
    at_branches = told_by(trie, seed)
    assert logprob == pytest.approx(trie.answer_logprobs(at_branches)[trie.answers.index(written)])


@given(answers=answers, seed=st.integers(0, 2**32))
def test_the_answer_read_from_the_distribution_is_the_one_that_is_written(answers: list[Ids], seed: int) -> None:
    trie = TokenTrie(answers, END)
    at_branches = told_by(trie, seed)
    assert trie.follow(trie.answer_logprobs(at_branches)) == written_by(trie, seed, Sampling())[0]


@given(answers=answers, seed=st.integers(0, 2**32))
def test_branches_that_matter_little_need_not_be_asked(answers: list[Ids], seed: int) -> None:
    trie, at_branches = TokenTrie(answers, END), dict[Ids, dict[int, float]]()
    every = told_by(trie, seed)
    for branch, told in every.items():
        if trie.matters(branch, at_branches):
            at_branches[branch] = told
    some, exact = (np.exp(trie.answer_logprobs(asked)) for asked in (at_branches, every))
    assert some == pytest.approx(exact, abs=1e-5) and some.sum() == pytest.approx(1)
    assert trie.follow(np.log(some)) == written_by(trie, seed, Sampling())[0]


def test_beyond_an_unlikely_token_nothing_is_asked() -> None:
    trie = TokenTrie([(1, 2), (1, 3), (4, 5), (4, 6)], END)
    sure = np.full(VOCABULARY, -20, dtype=np.float32)
    sure[4] = 0
    told = {(): trie.logprobs_at((), sure)}
    assert [branch for branch in trie.branches() if trie.matters(branch, told)] == [(), (4,)]


@given(answers=answers)
def test_every_answer_can_be_reached_and_is_complete_there(answers: list[Ids]) -> None:
    trie = TokenTrie(answers, END)
    for answer in answers:
        for length, token in enumerate(answer):
            assert token in trie.allowed(answer[:length])
        after = trie.allowed(answer)
        assert after == () or END in after


def test_a_forced_token_costs_no_step() -> None:
    request = Request("r", (1,), Sampling(), TokenTrie([(3, 4, 5), (3, 4, 6, 7)], END))
    steps: list[Ids] = []

    def step(ids: Ids) -> NDArray[np.float32]:
        steps.append(ids)
        return np.eye(VOCABULARY, dtype=np.float32)[6]

    chunks = list(decode(request, 9, (1,), 0, step, frozenset({END})))
    assert steps == [(1, 3, 4)]
    assert sum((chunk.ids for chunk in chunks), ()) == (3, 4, 6, 7)


def test_an_answer_that_begins_another_is_told_apart_by_the_end() -> None:
    trie = TokenTrie([(3,), (3, 4)], END)
    assert trie.allowed((3,)) == (END, 4)
    assert trie.branches() == [(3,)]


@given(first=st.lists(st.integers(0, 3)).map(tuple), second=st.lists(st.integers(0, 3)).map(tuple))
def test_the_common_length_is_where_two_sequences_part(first: Ids, second: Ids) -> None:
    length = common_length(first, second)
    assert first[:length] == second[:length]
    assert length == min(len(first), len(second)) or first[length] != second[length]


@given(seed=st.integers(0, 1000))
def test_sampling_with_a_seed_is_repeatable(seed: int) -> None:
    trie = TokenTrie([(a, b) for a in range(1, 5) for b in range(1, 5)], END)
    sampling = Sampling(temperature=2.0, seed=seed)
    assert written_by(trie, 1, sampling) == written_by(trie, 1, sampling)


def test_sampling_follows_the_probabilities() -> None:
    trie = TokenTrie([(1,), (2,), (3,)], END)
    logits = random_logits(7, (1, 2, 3))
    expected = np.exp(trie.answer_logprobs({(): trie.logprobs_at((), logits)}))
    drawn = [written_by(trie, 7, Sampling(temperature=1.0, seed=seed))[0][0] for seed in range(2000)]
    assert np.bincount(drawn, minlength=4)[1:] / len(drawn) == pytest.approx(expected, abs=0.04)
