"""A tiny random model as ONNX Runtime GenAI folder, and as Foundry Local folder."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from slmops.deployment.foundry_folder import write_folder
from tests.tiny import write_model


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama in ChatML, int4."""
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    model, out, cache = (tmp_path_factory.mktemp(name) for name in ("model", "onnx", "cache"))
    sizes = {"hidden_size": 64, "head_dim": 16, "max_position_embeddings": 4096, "initializer_range": 0.5}
    write_model(model, "llama", ("<|im_start|>", "<|im_end|>"), **sizes)  # so random that answers differ
    with contextlib.redirect_stdout(io.StringIO()):
        options = parse_extra_options("", str(model), str(out), "int4", "cpu", str(cache), ["prune_lm_head=true"])
        create_model("", str(model), str(out), "int4", "cpu", str(cache), **options)
    return out


@pytest.fixture(scope="session")
def foundry_folder(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as Foundry Local's support:3."""
    folder = tmp_path_factory.mktemp("foundry") / "support"
    write_folder(tiny_onnx, folder, name="support", version=3)
    return folder
