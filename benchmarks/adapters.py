"""What switching between adapters of one ONNX model costs: `python -m benchmarks.adapters`.

Two adapters (LoRA, r = 16, every linear layer, random) of the default model stand beside one int4 base. Measured on one
prompt after another that share nothing: how much later the first token comes where the adapter changes, against opening
a model into which the adapter was merged; how fast each writes; and, in fp32, whether both give the same answers.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.results import Asked, Group, Measured, Target, parser, run
from slmops.core.machine import default_threads
from slmops.core.measurement import Interval
from slmops.core.statistics import percentile_interval
from slmops.models.adapters import AdapterCard, base_id
from slmops.models.forward import load_causal_lm
from slmops.models.lora import lora_layers, write_adapter
from slmops.models.references import resolve
from slmops.optimization.config import OptimizationConfig, Precision
from slmops.runtimes.local import LocalModel
from slmops.runtimes.types import Request, Runtime, Sampling
from slmops.stages.adapters import merge_into
from slmops.stages.verbs import convert
from slmops.training.config import TrainConfig
from slmops.training.methods import ADAPTER, prepare

MODEL, RANK, NAMES = "smollm2-135m-instruct", 16, ("a", "b")
PROMPT, ROUNDS, ANSWERS, LENGTH = 32, 20, 24, 12  # tokens; switches; prompts that both answer; tokens of an answer
EFFECT = 0.02  # of the random matrices: answers change, and stay words
SEED = 7

SWITCH = Asked(
    "switch",
    f"ms by which the first token comes later where the adapter changes; int4, two adapters of rank {RANK}",
    "ms",
    Target("switching costs < 50 ms and needs no reload", "under", 50),
)
RELOAD = Asked(
    "first_token", f"ms to the first token after {PROMPT} of another adapter, against opening its merged model", "ms"
)
SPEED = Asked("speed", "tokens/s with an adapter, against its merged model; int4", "/s")
SAME = Asked(
    "same_answers",
    f"share of {ANSWERS} prompts whose answer of {LENGTH} tokens is that of the merged model; fp32",
    "",
    Target("same answers as merged models", "exactly", 1),
)


@dataclass(frozen=True)
class Models:
    """One model with both adapters, and one into which the first was merged."""

    switching: Path
    merged: Path


def groups(model: str = MODEL, rounds: int = ROUNDS) -> list[Group]:
    def timed(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
        with tempfile.TemporaryDirectory() as scratch:
            yield from _times(_made(model, "int4", Path(scratch)), rounds)

    def answered(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
        with tempfile.TemporaryDirectory() as scratch:
            yield SAME.id, _same(_made(model, "fp32", Path(scratch)))

    return [Group((SWITCH, RELOAD, SPEED), timed), Group((SAME,), answered)]


def _made(reference: str, precision: Precision, scratch: Path) -> Models:
    base = resolve(reference)
    card = AdapterCard(base_id(base.folder), None, "full", base.licence)
    for seed, name in enumerate(NAMES):
        network = prepare(load_causal_lm(base.folder), TrainConfig(rank=RANK, upper_layers=1), seed)
        with torch.no_grad():
            for _, layer in lora_layers(network):
                nn.init.normal_(layer.lora_B[ADAPTER].weight, std=EFFECT)
        (scratch / name).mkdir()
        write_adapter(network, ADAPTER, scratch / name, card, reference)
    config = OptimizationConfig(precision=precision)
    adapters = {name: scratch / name for name in NAMES}
    plain = merge_into(reference, scratch / NAMES[0], scratch / "plain")
    return Models(
        convert(reference, scratch / "switching", config, adapters=adapters),
        convert(f"file:{plain}", scratch / "merged", config),
    )


def _times(models: Models, rounds: int) -> Iterator[tuple[str, Measured]]:
    threads = default_threads()
    runtime = LocalModel(models.switching, threads=threads).runtime
    prompts = iter(_prompts(4 * rounds + 2))
    for name in NAMES:  # each is loaded once
        _first_token_ms(runtime, next(prompts), name)
    later, switched, opened = [], [], []
    for _ in range(rounds):
        started = time.perf_counter()
        merged = LocalModel(models.merged, threads=threads).runtime
        _first_token_ms(merged, next(prompts), None)
        opened.append(1000 * (time.perf_counter() - started))
        _first_token_ms(runtime, next(prompts), NAMES[1])  # what is compared begins with the same caches
        same = _first_token_ms(runtime, next(prompts), NAMES[1])
        switched.append(_first_token_ms(runtime, next(prompts), NAMES[0]))
        later.append(switched[-1] - same)
    yield SWITCH.id, Measured(float(np.median(later)), percentile_interval(later, 50))
    ratios = [ours / theirs for ours, theirs in zip(switched, opened, strict=True)]
    interval = percentile_interval(ratios, 50)
    yield RELOAD.id, Measured(float(np.median(switched)), interval, float(np.median(opened)))
    ours, theirs = [], []
    for prompt in _prompts(rounds):
        ours.append(_speed(runtime, prompt, NAMES[0]))
        theirs.append(_speed(merged, prompt, None))
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    interval = percentile_interval(ratios, 50)
    yield SPEED.id, Measured(float(np.median(ours)), interval, float(np.median(theirs)))


def _same(models: Models) -> Measured:
    switching, merged = LocalModel(models.switching).runtime, LocalModel(models.merged).runtime
    plain = LocalModel(models.switching).runtime
    same, changed = 0, 0
    for prompt in _prompts(ANSWERS):
        _written(switching, prompt, NAMES[1], LENGTH)  # what came before leaves no trace
        ours = _written(switching, prompt, NAMES[0], LENGTH)
        same += ours == _written(merged, prompt, None, LENGTH)
        changed += ours != _written(plain, prompt, None, LENGTH)
    share = same / ANSWERS
    note = f"{changed} of them are other than the base's"
    return Measured(share, Interval(share, share, share, 0.95, ANSWERS), note=note)


def _prompts(count: int) -> list[tuple[int, ...]]:
    """Prompts of random tokens, no two with the same first one."""
    random = np.random.default_rng(SEED)
    first = random.permutation(np.arange(1000, 20_000))[:count]
    return [(int(token), *map(int, random.integers(1000, 20_000, PROMPT - 1))) for token in first]


def _first_token_ms(runtime: Runtime, prompt: tuple[int, ...], adapter: str | None) -> float:
    started = time.perf_counter()
    _written(runtime, prompt, adapter, 1)
    return 1000 * (time.perf_counter() - started)


def _speed(runtime: Runtime, prompt: tuple[int, ...], adapter: str | None, length: int = 33) -> float:
    """Tokens a second after the first."""
    chunks = runtime.generate(iter([Request("", prompt, Sampling(length), adapter=adapter)]))
    next(chunks)
    started = time.perf_counter()
    count = sum(len(chunk.ids) for chunk in chunks)
    return count / (time.perf_counter() - started)


def _written(runtime: Runtime, prompt: tuple[int, ...], adapter: str | None, length: int) -> tuple[int, ...]:
    (written,) = runtime.write([Request("", prompt, Sampling(length), adapter=adapter)])
    return written.ids


def main() -> int:
    return run("adapters", groups(), parser(__doc__.splitlines()[0]).parse_args())


if __name__ == "__main__":
    sys.exit(main())
