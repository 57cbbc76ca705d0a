"""The peers that packing is measured against learn the same from the same examples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import lessons, packing, public
from slmops.core.errors import DataError
from slmops.models.forward import load_causal_lm
from slmops.models.packing import Example, pack

INSTRUCTION = tuple(range(20, 60))
EXAMPLES = [
    Example(str(n), (INSTRUCTION, (*range(70, 75 + n), 90 + n, 2)), (False,) * (5 + n) + (True, True)) for n in range(6)
]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> torch.nn.Module:
    return load_causal_lm(tiny_model)


def test_padded_dense_and_packed_batches_have_one_gradient(model: torch.nn.Module) -> None:
    packed = packing._gradient(model, packing._packed_loss, list(pack(EXAMPLES, 1024)))
    dense = packing._gradient(model, packing._dense_loss, list(pack(EXAMPLES, 70, 2)))
    padded = packing._gradient(model, packing._padded_loss, packing._batches(EXAMPLES, 4))
    assert float((dense - packed).norm() / packed.norm()) <= 1e-5
    assert float((padded - packed).norm() / packed.norm()) <= 1e-5


def test_a_step_learns_and_says_how_long_it_took(tiny_model: Path) -> None:
    model = load_causal_lm(tiny_model)
    before = [parameter.clone() for parameter in model.parameters()]
    seconds = packing._step(model, packing._padded_loss, packing._batches(EXAMPLES, 4), "float32")()
    assert seconds > 0
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_missing_data_are_named_with_their_public_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "DATA", tmp_path)
    with pytest.raises(DataError, match=r"clinc/oos-eval.*sha256"):
        lessons.read_rows("intents", tmp_path, 4)
