"""Two workers learn as one does: the same losses, the same weights on both, the same bits each time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.training.parallel_runs import STEPS, learn


@pytest.fixture(scope="module")
def runs(tiny_model: Path, warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two workers and, in `alone`, one have left behind."""
    folder = tmp_path_factory.mktemp("runs")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command += ["tests.training.parallel_runs", str(tiny_model), str(folder)]
    subprocess.run([str(warm), *command], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    learn(tiny_model, folder / "alone-scratch", folder / "alone")
    return folder


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return found


def bits(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_two_workers_learn_what_one_does(runs: Path) -> None:
    alone, two = told(runs / "alone")["curve"], told(runs / "full-0")["curve"]
    assert [point["step"] for point in two] == [point["step"] for point in alone]
    for name in ("loss", "validation_loss"):
        losses = [point[name] for point in alone if point[name]]
        assert [point[name] for point in two if point[name]] == pytest.approx(losses, rel=1e-4)
    assert losses[-1] < 0.95 * losses[0], "nothing was learned, so that nothing was compared"
    weights, one = load_file(runs / "full-0" / "model.safetensors"), load_file(runs / "alone" / "model.safetensors")
    assert max(float((weights[name] - one[name]).abs().max()) for name in one) < 1e-3


def test_every_worker_holds_the_same_weights_each_time(runs: Path) -> None:
    assert bits(runs / "full-0") == bits(runs / "full-1") == bits(runs / "again-0")
    assert bits(runs / "lora-0") == bits(runs / "lora-1")


def test_they_go_on_from_one_checkpoint_to_the_same_bits(runs: Path) -> None:
    assert told(runs / "begun-0")["curve"][-1]["step"] == told(runs / "begun-1")["curve"][-1]["step"] == 10
    assert bits(runs / "resumed-0") == bits(runs / "resumed-1") == bits(runs / "full-0")


def test_workers_of_one_machine_share_its_free_memory(runs: Path) -> None:
    assert [told(runs / name)["room"] for name in ("alone", "full-0", "full-1")] == [1010, 510, 510]


def test_only_the_first_worker_is_asked_whether_to_go_on(runs: Path) -> None:
    assert told(runs / "full-0")["asked"] == list(range(2, STEPS + 1, 2))
    assert told(runs / "full-1")["asked"] == []
