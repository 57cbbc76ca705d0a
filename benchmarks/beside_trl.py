"""Fine-tuning beside TRL's SFTTrainer with peft: speed, memory, and what both have learned.

The default model learns by LoRA (r = 16, every linear layer) or wholly, from the same rows, by the same loss: that of
the answer's tokens. Ours and TRL's take turns, each in a process of its own; TRL at its defaults, and at the best of
`GRID`. Our batches of intents have as many rows as fill a sequence of 1,024 tokens, or TRL's 8 where it says so.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.learn import MODEL, Job, held_out_loss, learn
from benchmarks.lessons import RowsName, read_rows
from benchmarks.peer_trl import Job as PeerJob
from benchmarks.peer_trl import run_trl
from benchmarks.results import Asked, Group, Measured, Target, of_one
from slmops.core.machine import default_threads, probe_number_format
from slmops.core.measurement import Interval
from slmops.core.statistics import bootstrap
from slmops.models.forward import NumberFormat
from slmops.models.references import resolve

Method = Literal["lora", "full"]

_OFF = {"gradient_checkpointing": False}
GRID: Mapping[str, Mapping[str, Any]] = {
    "no checkpointing": _OFF,
    "no checkpointing, batch 4": {**_OFF, "per_device_train_batch_size": 4},
    "no checkpointing, batch 16": {**_OFF, "per_device_train_batch_size": 16},
    "no checkpointing, by length": {**_OFF, "train_sampling_strategy": "group_by_length"},
    "no checkpointing, packing": {**_OFF, "packing": True, "per_device_train_batch_size": 1},
    "no checkpointing, adafactor": {**_OFF, "optim": "adafactor"},
}
_WIDE, _TRL_BATCH = 32, 8  # rows a step: intents that fill a sequence; TRL's default
_ROUNDS, _STEPS = 2, 2
_LEARNED, _HELD_OUT, _SEEDS = 64, 128, 3


@dataclass(frozen=True)
class Work:
    """What is compared: rows, and how many of them are a step of ours."""

    name: str
    rows: RowsName
    method: Method
    batch_size: int
    words: str

    def job(self, number_format: NumberFormat) -> Job:
        options = {"method": self.method, "upper_layers": 1.0, "batch_size": self.batch_size, "schedule": "constant"}
        return Job(self.rows, (_STEPS + 1) * self.batch_size, options, number_format)

    def peer(self, number_format: NumberFormat, options: Mapping[str, Any]) -> PeerJob:
        size = options.get("per_device_train_batch_size", _TRL_BATCH)
        folder = resolve(MODEL).folder
        rows = read_rows(self.rows, folder, 10 * size if "packing" in options else (_STEPS + 1) * size)
        return PeerJob(str(folder), rows.conversations, self.method, number_format, _STEPS, options)


INTENTS = Work("intents", "intents", "lora", _WIDE, "LoRA, intents with a shared instruction")
FEW = Work("intents-8", "intents", "lora", _TRL_BATCH, "the same, 8 rows a step as TRL's")
PROBLEMS = Work("gsm8k", "gsm8k", "lora", _TRL_BATCH, "LoRA, GSM8K")
WHOLE = Work("full", "intents", "full", _WIDE, "full fine-tuning, intents with a shared instruction")


def groups() -> list[Group]:
    speeds = {
        INTENTS: Target("≥ 12 × TRL's defaults", "at least", 12),
        FEW: None,
        PROBLEMS: Target("≥ 2 × TRL's defaults", "at least", 2),
        WHOLE: Target("≥ 3 × TRL's defaults", "at least", 3),
    }
    bests = {
        INTENTS: Target("≥ 8 × TRL's best of a named grid", "at least", 8),
        PROBLEMS: Target("≥ 1.8 × its best", "at least", 1.8),
    }
    made = []
    for work, target in speeds.items():
        words = f"{work.words}: examples/s, against TRL's defaults"
        asked = [Asked(f"speed-{work.name}", words, "/s", target)]
        if work is INTENTS and number_format() == "bfloat16":
            fast = Target("≥ 20 × its defaults where the probe finds fast bf16", "at least", 20)
            asked.append(Asked(f"speed-{work.name}-bfloat16", words, "/s", fast))
        made.append(Group(tuple(asked), functools.partial(_speed, work)))
    for work, target in bests.items():
        best = Asked(f"best-{work.name}", f"{work.words}: examples/s, against TRL's best of the grid", "/s", target)
        made.append(Group((best,), functools.partial(_best, work)))
    loss = Asked(
        "loss",
        f"loss (nats a token) of {_HELD_OUT} other rows after {_LEARNED} intents, {_SEEDS} seeds, against TRL's",
        "",
        Target("validation loss equal to TRL's within seed noise (three seeds)", "at most", 2),
    )
    memory = Asked(
        "memory-gsm8k",
        "peak memory, LoRA, GSM8K, the same tokens in a step, activations computed twice on both sides",
        "MB",
        Target("≤ 0.6", "at most", 0.6),
    )
    plain = Asked("memory-gsm8k-plain", "the same, neither computes them twice", "MB")
    return [*made, Group((loss,), _losses), Group((memory, plain), _memory)]


@functools.cache
def number_format() -> NumberFormat:
    return "bfloat16" if probe_number_format(default_threads())[0] == "bfloat16" else "float32"


def _speed(work: Work, wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    """Ours and TRL at its defaults, one round after another; under every name that is asked for."""
    found = _compared(work, {}, number_format())
    yield from ((name, found) for name in wanted)


def _best(work: Work, wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    """Each setting of the grid once, then the best and ours, one round after another."""
    tried = {name: run_trl(work.peer(number_format(), options)).examples_per_s for name, options in GRID.items()}
    best = max(tried, key=lambda name: tried[name])
    told = ", ".join(f"{name} {speed:.2f}" for name, speed in tried.items())
    yield f"best-{work.name}", _compared(work, GRID[best], f"{number_format()}; best: {best} (of {told})")


def _compared(work: Work, options: Mapping[str, Any], note: str) -> Measured:
    """Examples/s of ours, and of TRL with its `options`, one round after another. Our looks at how far it has come,
    and checkpoints, are not counted: so few steps are looked at after each one, and TRL does neither at all."""
    rounds = []
    for _ in range(_ROUNDS):
        peer = 1 / run_trl(work.peer(number_format(), options)).examples_per_s
        rounds.append((float(np.mean(learn(work.job(number_format())).learning_s)) / work.batch_size, peer))
    seconds = np.array(rounds)  # (round, side), of an example
    ours, peer = 1 / seconds.mean(axis=0)
    ratio = bootstrap(seconds, lambda sums: sums[..., 1] / sums[..., 0], seed=0)
    return Measured(float(ours), ratio, float(peer), note)


def _losses(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    """Decided is how far the means over seeds are apart, in standard errors of their difference."""
    losses = []
    options: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": _TRL_BATCH, "schedule": "constant", "warmup": 0.0}
    options |= {"upper_layers": 1.0, "weight_decay": 0.0}
    theirs = {**_OFF, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "adam_beta2": 0.98}
    rows = read_rows("intents", folder := resolve(MODEL).folder, _LEARNED).conversations
    for seed in range(_SEEDS):
        with tempfile.TemporaryDirectory() as out:
            learn(Job("intents", _LEARNED, options, number_format(), seed, out=f"{out}/ours"))
            seeds = {"seed": seed, "data_seed": seed}
            steps = _LEARNED // _TRL_BATCH - 1
            run_trl(PeerJob(str(folder), rows, "lora", number_format(), steps, theirs | seeds, f"{out}/trl"))
            losses.append([held_out_loss(Path(out, side), "intents", _LEARNED, _HELD_OUT) for side in ("ours", "trl")])
    ours, peer = np.mean(losses, axis=0)
    errors = np.std(losses, axis=0, ddof=1) / np.sqrt(_SEEDS)
    apart = abs(ours - peer) / float(np.hypot(*errors))
    by_seed = ", ".join(f"{one:.3f} and {other:.3f}" for one, other in losses)
    note = f"by seed: {by_seed}; the means are {apart:.2f} standard errors apart"
    yield "loss", Measured(float(ours), Interval.exact(apart), float(peer), note)


def _memory(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    for name, twice in (("memory-gsm8k", True), ("memory-gsm8k-plain", False)):
        job, checkpointing = PROBLEMS.job(number_format()), {"gradient_checkpointing": twice}
        ours = learn(replace(job, options={**job.options, **checkpointing}))
        peer = run_trl(PROBLEMS.peer(number_format(), checkpointing))
        yield name, of_one(ours.peak_mb, peer.peak_mb)
