"""The same small model under every runtime, plain and with a sliding window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slmops.optimization.config import OptimizationConfig
from slmops.optimization.onnx import write_onnx
from slmops.runtimes.local import LocalModel
from tests.models.architectures import ARCHITECTURES

Open = Callable[[], LocalModel]


@pytest.fixture(scope="package", params=["smollm", "gemma-3", "mistral-sliding"])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model as torch and as ONNX."""
    root = tmp_path_factory.mktemp(request.param)
    chosen = next(one for one in ARCHITECTURES if one.name == request.param)
    write_onnx(chosen.write(root / "torch"), root / "onnx", OptimizationConfig.model_validate("fp32"))
    return {"torch": root / "torch", "onnx": root / "onnx"}


@pytest.fixture(params=["torch", "onnx"])
def open_model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Open:
    """Loads the model anew at each call."""
    return lambda: LocalModel(folders[request.param])
