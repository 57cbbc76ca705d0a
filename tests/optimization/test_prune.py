"""Which layers are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import ModelError
from slmops.optimization.prune import spread_layers


@given(count=st.integers(1, 200), share=st.floats(0, 1))
def test_kept_layers_are_different_in_order_and_reach_from_first_to_last(count: int, share: float) -> None:
    keep = max(1, round(count * share))
    layers = spread_layers(count, keep)
    assert len(set(layers)) == keep
    assert layers == sorted(layers)
    assert layers[0] == 0
    assert keep == 1 or layers[-1] == count - 1


def test_they_are_evenly_spread() -> None:
    assert spread_layers(30, 6) == [0, 6, 12, 17, 23, 29]
    assert spread_layers(4, 4) == [0, 1, 2, 3]


@pytest.mark.parametrize("keep", [0, -1, 31])
def test_more_layers_than_there_are_cannot_be_kept(keep: int) -> None:
    with pytest.raises(ModelError, match=r"choose 1…30"):
        spread_layers(30, keep)
