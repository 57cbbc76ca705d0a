"""Which layers are kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import ModelError
from slmops.optimization.prune import lower_layers, spread_layers


@pytest.mark.parametrize("choose", [lower_layers, spread_layers])
@given(count=st.integers(1, 200), share=st.floats(0, 1))
def test_kept_layers_are_different_in_order_and_reach_from_first_to_last(
    choose: Callable[[int, int], list[int]], count: int, share: float
) -> None:
    keep = max(1, round(count * share))
    layers = choose(count, keep)
    assert len(set(layers)) == keep
    assert layers == sorted(layers)
    assert keep == 1 or (layers[0], layers[-1]) == (0, count - 1)


def test_the_lower_ones_are_followed_by_the_last() -> None:
    assert lower_layers(30, 8) == [0, 1, 2, 3, 4, 5, 6, 29]
    assert lower_layers(4, 4) == [0, 1, 2, 3]


def test_they_are_evenly_spread() -> None:
    assert spread_layers(30, 6) == [0, 6, 12, 17, 23, 29]
    assert spread_layers(4, 4) == [0, 1, 2, 3]


@pytest.mark.parametrize("choose", [lower_layers, spread_layers])
@pytest.mark.parametrize("keep", [0, -1, 31])
def test_more_layers_than_there_are_cannot_be_kept(choose: Callable[[int, int], list[int]], keep: int) -> None:
    with pytest.raises(ModelError, match=r"choose 1…30"):
        choose(30, keep)
