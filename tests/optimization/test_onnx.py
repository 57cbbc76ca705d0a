"""Converting is repeatable: the same model becomes the same bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slmops.optimization.config import OptimizationConfig
from slmops.optimization.onnx import write_onnx


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
