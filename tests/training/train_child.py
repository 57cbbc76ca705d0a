"""Trains the tiny model in a process of its own: `python -m tests.training.train_child MODEL SCRATCH OUT METHOD`.

Saves a checkpoint after every step and prints its number, so that a test can kill it anywhere.
"""

from __future__ import annotations

import sys
from pathlib import Path

from slmops.models.forward import load_causal_lm
from slmops.training.config import TrainConfig
from slmops.training.losses import cross_entropy
from slmops.training.methods import merge, prepare
from slmops.training.trainer import train, write_curve
from tests.training.rows import rows


def main(model_folder: Path, scratch: Path, out: Path, method: str) -> None:
    config = TrainConfig.model_validate({"method": method, "epochs": 6, "batch_size": 4, "rank": 4, "max_tokens": 128})
    model = prepare(load_causal_lm(model_folder), config, seed=3)
    curve = train(
        model,
        rows(24),
        config,
        cross_entropy,
        validation=rows(6),
        validation_loss=cross_entropy,
        seed=3,
        number_format="float32",
        scratch=scratch,
        checkpoint_every_s=0.0,
        report=lambda step, steps, loss: print(step, flush=True),
    )
    out.mkdir(parents=True)
    merge(model).save_pretrained(out)
    write_curve(out / "curve.jsonl", curve)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
