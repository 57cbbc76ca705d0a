"""A weight rounded in torch is the weight that ONNX Runtime will compute with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.capi._pybind_state import quantize_matmul_4bits

from slmops.models.forward import load_causal_lm
from slmops.optimization.config import OptimizationConfig
from slmops.optimization.int4 import round_to_int4
from slmops.optimization.onnx import write_onnx
from slmops.runtimes.local import LocalModel
from slmops.tasks.types import Message


def held_by_onnxruntime(weight: torch.Tensor, block_size: int) -> torch.Tensor:
    rows, columns = weight.shape
    blocks = columns // block_size
    packed = np.zeros((rows, blocks, block_size // 2), dtype=np.uint8)
    scales, zeros = np.zeros(rows * blocks, dtype=np.float32), np.zeros(rows * ((blocks + 1) // 2), dtype=np.uint8)
    transposed = np.ascontiguousarray(weight.numpy().T)
    quantize_matmul_4bits(packed, transposed, scales, zeros, block_size, rows, columns, True)
    values = np.stack([packed & 15, packed >> 4], -1).reshape(rows, blocks, block_size).astype(np.float32) - 8
    return torch.from_numpy((values * scales.reshape(rows, blocks, 1)).reshape(rows, columns))


@given(seed=st.integers(0, 2**31), block_size=st.sampled_from([16, 32, 64, 128]), spread=st.floats(1e-4, 10))
def test_it_is_what_onnxruntime_holds(seed: int, block_size: int, spread: float) -> None:
    weight = torch.randn(5, 256, generator=torch.Generator().manual_seed(seed)) * spread
    torch.testing.assert_close(
        round_to_int4(weight, block_size), held_by_onnxruntime(weight, block_size), rtol=1e-5, atol=1e-7
    )


def test_what_is_rounded_stays_as_it_is() -> None:
    rounded = round_to_int4(torch.randn(4, 64, generator=torch.Generator().manual_seed(1)), 32)
    torch.testing.assert_close(round_to_int4(rounded, 32), rounded)


def test_zeros_stay_zeros_and_rows_that_are_no_whole_blocks_are_left_alone() -> None:
    assert not round_to_int4(torch.zeros(2, 32), 32).any()
    odd = torch.randn(3, 40)
    assert torch.equal(round_to_int4(odd, 32), odd)


def test_a_model_rounded_in_torch_answers_as_its_int4(tiny_model: Path, tmp_path: Path) -> None:
    model = load_causal_lm(tiny_model)
    for part in model.modules():
        if isinstance(part, torch.nn.Linear | torch.nn.Embedding):
            part.weight.data = round_to_int4(part.weight.data, 32)
    write_onnx(tiny_model, tmp_path / "int4", OptimizationConfig(precision="int4"))
    converted, plain = LocalModel(tmp_path / "int4"), LocalModel(tiny_model)
    prompt = converted.prompt([Message("user", "Where is my order?")])
    [of_int4] = converted.runtime.score([(prompt, (5, 9, 30))])
    [unrounded] = plain.runtime.score([(prompt, (5, 9, 30))])
    plain.runtime.model = model  # type: ignore[attr-defined]
    [rounded] = plain.runtime.score([(prompt, (5, 9, 30))])
    error = np.abs(np.subtract(of_int4.logprobs, rounded.logprobs)).max()
    assert error < np.abs(np.subtract(of_int4.logprobs, unrounded.logprobs)).max() / 3
    assert of_int4.logprobs == pytest.approx(rounded.logprobs, abs=0.02)
