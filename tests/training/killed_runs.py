"""Trains alone and killed at a step: `python -m tests.training.killed_runs MODEL FOLDER STEP`.

A process of its own that imports everything once and then forks each run, before any of torch's threads exist.
"""

from __future__ import annotations

import math
import os
import re
import signal
import sys
from pathlib import Path

import peft  # noqa: F401  imported here, it need not be in every fork
from torch import nn
from transformers.models.llama import modeling_llama  # noqa: F401

from slmops.models.forward import load_causal_lm
from slmops.training.config import TrainConfig
from slmops.training.curve import write_curve
from slmops.training.losses import cross_entropy
from slmops.training.methods import merge, prepare
from slmops.training.trainer import train
from tests.training.rows import rows

STEPS = 36  # 24 rows in steps of 4, 6 epochs
DRAWN: dict[str, dict[str, object]] = {  # what draws at random while it learns
    "lora": {"rank": 4, "dropout": 0.2, "keep": "best", "validations": 9},
    "bottleneck": {"rank": 32, "upper_layers": 0.5},
    "full": {"neftune_alpha": 5.0, "upper_layers": 1.0},
}


def start(model_folder: Path, scratch: Path, out: Path, method: str) -> tuple[int, int]:
    """(process, what it writes its steps to); a checkpoint is saved after every step."""
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        return child, reader
    try:
        _train(model_folder, scratch, out, method, writer)
        os._exit(0)
    finally:
        os._exit(1)


def wait(process: tuple[int, int]) -> list[int]:
    """The steps that a run took until its end."""
    with os.fdopen(process[1]) as steps:
        taken = [int(line) for line in steps]
    _, status = os.waitpid(process[0], 0)
    assert status == 0, status
    return taken


def kill_at(process: tuple[int, int], step: int) -> None:
    with os.fdopen(process[1]) as steps:
        while int(steps.readline()) < step:
            pass
        os.kill(process[0], signal.SIGKILL)
        os.waitpid(process[0], 0)


def _train(model_folder: Path, scratch: Path, out: Path, method: str, writer: int) -> None:
    config = TrainConfig.model_validate(
        {"method": method, "epochs": 6, "batch_size": 4, "max_tokens": 128, **DRAWN[method]}
    )
    model = prepare(load_causal_lm(model_folder), config, seed=3)
    curve = train(
        model,
        rows(24),
        config,
        cross_entropy,
        validation=rows(6),
        seed=3,
        number_format="float32",
        scratch=scratch,
        checkpoint_every_s=0.0,
        judge=_up_and_down if method == "lora" else None,
        report=lambda share, text: _say(writer, text),
    )
    merge(model).save_pretrained(out)
    write_curve(out / "curve.jsonl", curve)


def _up_and_down(model: nn.Module) -> float:
    """A figure of a model by which another look than the last may be the best."""
    learned = sum(float(weight.detach().abs().sum()) for name, weight in model.named_parameters() if "lora_" in name)
    return math.sin(10 * learned)


def _say(writer: int, text: str) -> None:
    if found := re.match(r"step (\d+)/", text):
        os.write(writer, f"{found[1]}\n".encode())


def main(model: Path, folder: Path, step: int) -> None:
    for method in DRAWN:
        alone = start(model, folder / f"{method}-alone-scratch", folder / f"{method}-alone", method)
        scratch, out = folder / f"{method}-killed-scratch", folder / f"{method}-killed"
        kill_at(start(model, scratch, out, method), step)
        again = wait(start(model, scratch, out, method))
        assert 1 < again[0] <= step + 3, f"it did not go on at {step} but at {again[0]}"
        assert wait(alone) == list(range(1, STEPS + 1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
