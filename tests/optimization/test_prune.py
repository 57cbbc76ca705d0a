"""Which layers are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slmops.core.errors import ModelError
from slmops.models.forward import last_states, load_causal_lm
from slmops.models.packing import pack
from slmops.optimization.prune import (
    dissimilar_layers,
    greedily_kept_layers,
    keep_layers,
    least_missed_layers,
    lower_layers,
    spread_layers,
    with_layers,
)
from tests.tiny import write_model
from tests.training.rows import rows


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


@given(count=st.integers(2, 40), data=st.data())
def test_the_neighbours_that_change_least_go(count: int, data: st.DataObject) -> None:
    keep, idle = data.draw(st.integers(1, count - 1)), data.draw(st.integers(0, count - 1))
    turned = [float(layer != idle) for layer in range(count)]  # by each layer
    kept = dissimilar_layers(count, keep, lambda start, end: sum(turned[start:end]))
    gone = [layer for layer in range(count) if layer not in kept]
    assert len(kept) == keep and idle in gone
    assert gone == list(range(gone[0], gone[-1] + 1))


def test_the_layer_that_is_missed_least_goes_first() -> None:
    worth = [5.0, 1.0, 4.0, 0.5, 3.0]

    def loss(layers: Sequence[int]) -> float:
        together = 2.5 if {1, 3} & set(layers) else 0.0  # either will do, but not neither
        return 100 - sum(worth[layer] for layer in layers) - together

    assert least_missed_layers(5, 3, loss) == [0, 2, 4]
    assert greedily_kept_layers(5, 3, loss) == [0, 1, 2]
    assert greedily_kept_layers(5, 5, loss) == [0, 1, 2, 3, 4]


def test_layers_are_left_out_for_a_while_only(tiny_model: Path) -> None:
    model = load_causal_lm(tiny_model)
    batch = next(pack(rows(3), 1024))
    with torch.inference_mode():
        before = last_states(model, batch)
        with with_layers(model, [1]):
            without = last_states(model, batch)
        assert not torch.allclose(without, before)
        assert torch.equal(last_states(model, batch), before)
        assert torch.equal(last_states(keep_layers(model, [1]), batch), without)


def test_what_a_config_says_of_each_layer_goes_with_it(tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 8, "no_rope_layers": [1, 1, 1, 0, 1, 1, 1, 0], "initializer_range": 0.3}
    write_model(tmp_path / "whole", "smollm3", ("<|im_start|>", "<|im_end|>"), **sizes)
    model, batch = load_causal_lm(tmp_path / "whole"), next(pack(rows(3), 1024))
    with torch.inference_mode():
        with with_layers(model, [0, 3]):
            assert model.config.no_rope_layers == [1, 0]
        before = last_states(keep_layers(model, [0, 2, 3, 7]), batch)
        model.save_pretrained(tmp_path / "cut")  # type: ignore[operator]
        torch.testing.assert_close(last_states(load_causal_lm(tmp_path / "cut"), batch), before)
