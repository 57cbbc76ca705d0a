"""The default model learns rows by slmops' own loop, in a process of its own: `python -m benchmarks.learn < job.json`.

In comes a job; out go, on the last line, the seconds of learning in each step after the first, what was estimated
before it began, and peak memory. The model lies in the job's folder, where it names one. Knows no peer.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.child import run_module
from benchmarks.lessons import RowsName, read_rows
from slmops.core.machine import default_threads, peak_memory_mb, probe_number_format
from slmops.models.folder import read_json
from slmops.models.forward import NumberFormat, last_states, load_causal_lm
from slmops.models.references import resolve
from slmops.training.config import TrainConfig
from slmops.training.duration import training_amount
from slmops.training.estimate import Lessons, Shape, training_needs
from slmops.training.looks import mean_loss
from slmops.training.losses import cross_entropy
from slmops.training.methods import merge, prepare
from slmops.training.replication import Begins
from slmops.training.trainer import train

MODEL = "smollm2-135m-instruct"


@dataclass(frozen=True)
class Job:
    """`plain`: only the answer's own loss is learned, at the whole vocabulary, as peers do. `again`: so many trainings
    one after another, as a search's trials; `reused`: what the layers that stay say is computed once for all. `scratch`
    is a folder from which a training that was killed goes on; its steps are told on standard error."""

    rows: RowsName
    count: int
    options: Mapping[str, Any]
    number_format: NumberFormat
    seed: int = 0
    plain: bool = True
    again: int = 1
    reused: bool = True
    out: str = ""
    scratch: str = ""


@dataclass(frozen=True)
class Found:
    learning_s: Sequence[float] = field(default=())  # of learning alone, neither looks nor checkpoints; fewer than 80
    whole_s: float = 0.0
    peak_mb: float = 0.0
    estimated_mb: float = 0.0
    estimated_s: float = 0.0


def learn(job: Job) -> Found:
    return Found(**run_module("benchmarks.learn", job))


def held_out_loss(model: Path, rows: RowsName, learned: int, count: int) -> float:
    """Nats a target token of the `count` rows behind those that were `learned`."""
    examples = read_rows(rows, resolve(MODEL).folder, learned + count).examples[learned:]
    loaded = load_causal_lm(model)
    return mean_loss(
        loaded, examples, TrainConfig().max_tokens, cross_entropy, lambda batch: last_states(loaded, batch)
    )


def _learn(job: Job) -> Found:
    import torch

    from slmops.training import frozen

    torch.set_num_threads(default_threads())
    config = TrainConfig.model_validate(job.options)
    folder = resolve(MODEL).folder
    rows = read_rows(job.rows, folder, job.count)
    begins = Begins() if job.plain else rows.begins
    lessons = Lessons.of(rows.examples, config, bool(begins))
    shape = Shape.of(read_json(folder / "config.json"))
    needs = training_needs(shape, config, lessons, job.number_format)
    amount = training_amount(shape, config, lessons)
    gflops = probe_number_format(default_threads())[1][job.number_format]
    seconds = amount.seconds(gflops, job.number_format)
    if not job.reused:
        frozen.frozen_layers = lambda model: 0
    learning: list[float] = []

    def report(share: float, text: str) -> None:
        if job.scratch and text.startswith("step "):
            print(text, file=sys.stderr, flush=True)

    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() if not job.scratch else nullcontext(job.scratch) as scratch:
        for number in range(job.again):
            model = prepare(load_causal_lm(folder), config, job.seed)
            train(
                model,
                rows.examples,
                config,
                cross_entropy,
                begins=begins,
                seed=job.seed,
                number_format=job.number_format,
                scratch=Path(scratch, str(number)),
                frozen=Path(scratch, "frozen"),
                checkpoint_every_s=0.0 if job.scratch else 20.0,
                report=report,
                watch=lambda moment: learning.append(moment.seconds),
            )
    whole = time.perf_counter() - begun
    if job.out:
        merge(model).save_pretrained(job.out)
    return Found(learning[1:], whole, peak_memory_mb() * 1.048576, needs.memory / 1e6, seconds)


if __name__ == "__main__":
    print(json.dumps(asdict(_learn(Job(**json.load(sys.stdin))))))
