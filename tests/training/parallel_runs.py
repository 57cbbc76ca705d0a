"""One of several workers that train: `python -m tests.training.parallel_runs MODEL FOLDER` under torchrun.

Writes what each worker holds in the end: weights and curve; and what it was told.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from slmops.models.forward import load_causal_lm
from slmops.training.config import TrainConfig
from slmops.training.curve import Point
from slmops.training.losses import cross_entropy
from slmops.training.methods import merge, prepare
from slmops.training.parallel import Workers
from slmops.training.trainer import train
from tests.training.rows import rows

STEPS = 24  # 21 rows in steps of 6, the last of 3, in 6 epochs


def learn(model_folder: Path, scratch: Path, out: Path, until: int = STEPS, **changes: Any) -> None:
    """Trains and writes what came of it into `out`; a callback ends it after step `until`."""
    settings = {"method": "full", "epochs": 6, "batch_size": 6, "max_tokens": 64, "learning_rate": 0.01} | changes
    config = TrainConfig.model_validate({"validations": 12, "keep": "best", "warmup": 0.2} | settings)
    model = prepare(load_causal_lm(model_folder), config, seed=3)
    asked: list[int] = []

    def goes_on(curve: Sequence[Point]) -> bool:
        asked.append(curve[-1].step)
        return curve[-1].step < until

    curve = train(
        model,
        rows(21),
        config,
        cross_entropy,
        validation=rows(8),
        seed=3,
        number_format="float32",
        scratch=scratch,
        goes_on=goes_on,
        checkpoint_every_s=0.0,
    )
    out.mkdir()
    weights = {name: weight.detach().contiguous() for name, weight in merge(model).named_parameters()}
    save_file(weights, out / "model.safetensors")  # transformers' own way writes in the first process only
    room = Workers.joined().least_room(1000.0, 10.0)
    told = {"curve": [asdict(point) for point in curve], "asked": asked, "room": room}
    (out / "told.json").write_text(json.dumps(told))


def main(model: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    for name in ("full", "again"):
        learn(model, folder / f"{name}-scratch", folder / f"{name}-{rank}")
    learn(model, folder / "resumed-scratch", folder / f"begun-{rank}", until=10)
    learn(model, folder / "resumed-scratch", folder / f"resumed-{rank}")
    learn(model, folder / "lora-scratch", folder / f"lora-{rank}", method="lora", rank=4, dropout=0.2)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
