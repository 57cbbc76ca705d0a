"""Converting is repeatable: the same model becomes the same bytes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slmops.core.errors import FullDiskError
from slmops.optimization.config import OptimizationConfig
from slmops.optimization.onnx import check_convertible, write_onnx
from slmops.runtimes.local import LocalModel
from tests.models.architectures import PHI
from tests.tiny import write_model


def test_a_model_becomes_the_same_bytes_whatever_repository_the_environment_lies_in(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for message in ("one", "two"):
        repository = tmp_path / message
        subprocess.run(["git", "init", "-q", str(repository)], check=True)
        git = ["git", "-C", str(repository), "-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", message], check=True)
        monkeypatch.setenv("GIT_DIR", str(repository / ".git"))  # as if the environment's packages lay in it
        write_onnx(tiny_model, repository / "model", OptimizationConfig(name="int4", precision="int4"))
        made.append({path.name: path.read_bytes() for path in (repository / "model").iterdir()})
        monkeypatch.delenv("GIT_DIR")
    assert made[0].keys() == made[1].keys()
    assert [name for name, content in made[0].items() if content != made[1][name]] == []


@pytest.mark.parametrize("length", [100, 300])
def test_long_rotary_embeddings_say_what_torch_does_within_the_first_context_and_beyond(
    tmp_path: Path, length: int
) -> None:
    """As Phi 3.5's: beyond the context that it was first trained with, angles are others."""
    half = 32
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "factor": 2.0,
        "short_factor": [1.0 + 0.01 * angle for angle in range(half)],
        "long_factor": [1.5 + 0.1 * angle for angle in range(half)],
        "original_max_position_embeddings": 256,
    }
    sizes = {"hidden_size": 128, "head_dim": 2 * half, "original_max_position_embeddings": 256}
    (tmp_path / "onnx").mkdir()
    write_model(tmp_path / "model", "phi3", PHI, initializer_range=0.3, rope_parameters=rope, **sizes)
    write_onnx(tmp_path / "model", tmp_path / "onnx", OptimizationConfig(precision="fp32"))
    drawn = np.random.default_rng(0).integers(10, 300, length + 4).tolist()
    pair = (tuple(drawn[:length]), tuple(drawn[length:]))
    told = [LocalModel(tmp_path / name, threads=1).runtime.score([pair])[0] for name in ("model", "onnx")]
    assert told[1].logprobs == pytest.approx(told[0].logprobs, abs=1e-3)


def test_a_full_disk_is_not_taken_for_a_model_that_cannot_be_converted(
    tiny_model: Path, tmp_path: Path, fill_disk: Callable[[int], None]
) -> None:
    fill_disk(500)
    with pytest.raises(FullDiskError, match=f"{tmp_path / 'onnx'}: the disk is full"):
        write_onnx(tiny_model, tmp_path / "onnx", OptimizationConfig(precision="fp32"))
    with pytest.raises(FullDiskError):
        check_convertible(tiny_model, OptimizationConfig(precision="fp32"))
