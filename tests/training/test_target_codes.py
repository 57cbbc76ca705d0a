"""Tokens of a teacher in 32 bits each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slmops.training.target_codes import BYTES, choose_tokens, decode, encode

logprobs = st.floats(-31, 0, width=32)


def test_sixteen_tokens_are_sixty_four_bytes() -> None:
    codes = choose_tokens(torch.log_softmax(torch.randn(5, 300), -1), 16, "top", np.random.default_rng(0))
    assert codes[0].nbytes == 16 * BYTES == 64


@given(ids=st.lists(st.integers(0, 2**20 - 2), min_size=1, max_size=8), data=st.data())
def test_what_was_encoded_comes_back(ids: list[int], data: st.DataObject) -> None:
    values = np.array([data.draw(logprobs) for _ in ids], np.float32)
    found_ids, found = decode(encode(np.array([ids]), values[None]))
    assert found_ids[0].tolist() == ids
    assert np.abs(np.exp(found[0]) - np.exp(values)).max() < 1e-3
    half_a_step = 64 * np.sqrt(-values / 32) / 8190  # of the surprise, whose root is told in 4,095 steps up to 32 nats
    assert (np.abs(found[0] - values) <= half_a_step + 1e-5).all()


def test_what_is_not_there_comes_back_as_not_there() -> None:
    _, found = decode(encode(np.array([[7, 9]]), np.array([[-1.0, -np.inf]], np.float32)))
    assert np.isfinite(found).tolist() == [[True, False]]


def test_an_id_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="1048575"):
        encode(np.array([[2**20 - 1]]), np.zeros((1, 1), np.float32))


def test_the_likeliest_are_the_top() -> None:
    said = torch.log_softmax(torch.randn(4, 50, generator=torch.Generator().manual_seed(1)), -1)
    ids, found = decode(choose_tokens(said, 5, "top", np.random.default_rng(0)))
    top = said.topk(5)
    assert ids.tolist() == top.indices.tolist()
    assert np.allclose(found, top.values, rtol=0.005)


def test_drawn_tokens_have_the_teachers_probabilities_on_average() -> None:
    said = torch.log_softmax(torch.randn(2, 6, generator=torch.Generator().manual_seed(2)), -1)
    generator, mean = np.random.default_rng(3), np.zeros((2, 6))
    for _ in range(400):
        ids, found = decode(choose_tokens(said, 10, "sampled", generator))
        assert np.exp(found).sum(1) == pytest.approx([1, 1], abs=0.01)
        for row in range(2):
            np.add.at(mean[row], ids[row], np.exp(found[row]) / 400)
    assert np.abs(mean - said.exp().numpy()).max() < 0.02
