"""Probes: prompts with the answers and log-probabilities a model gave, carried along and replayed after every step.

One parity check for all: after a conversion, a deployment, a swap and, later, on the device. Knows no task.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from slmops.core.errors import ModelError
from slmops.core.files import write_whole
from slmops.runtimes.types import Ids, Runtime

PROBES = "probes.jsonl"


@dataclass(frozen=True)
class Probe:
    """A prompt, an answer (ids, end token included) and the log-probability of each of its tokens."""

    prompt: Ids
    answer: Ids
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Parity:
    """How far a model is from its probes: largest and mean difference of a token's probability, and the share of
    probes whose answer it finds as likely as before (within a factor of two)."""

    probes: int
    max_probability_difference: float
    mean_probability_difference: float
    agreeing: float


def record_probes(runtime: Runtime, pairs: Sequence[tuple[Ids, Ids]], path: Path, adapter: str | None = None) -> None:
    """Scores (prompt, answer) pairs and writes them as probes."""
    probes = [
        Probe(prompt, answer, tuple(round(value, 4) for value in scores.logprobs))
        for (prompt, answer), scores in zip(pairs, runtime.score(pairs, adapter), strict=True)
    ]
    write_whole(path, "".join(json.dumps(asdict(probe)) + "\n" for probe in probes))


def read_probes(path: Path) -> list[Probe]:
    probes = []
    try:
        for line in path.read_text().splitlines():
            data = json.loads(line)
            probes.append(Probe(tuple(data["prompt"]), tuple(data["answer"]), tuple(data["logprobs"])))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"holds no probes: {error!r}", where=str(path), remedy="make the model again") from error
    return probes


def replay_probes(runtime: Runtime, path: Path, adapter: str | None = None) -> Parity:
    """Scores the probes again.

    Raises:
        ModelError: there are no probes.
    """
    probes = read_probes(path)
    if not probes:
        raise ModelError("there are no probes", where=str(path), remedy="make the model again")
    scores = runtime.score([(probe.prompt, probe.answer) for probe in probes], adapter)
    differences, agreeing = [], 0
    for probe, score in zip(probes, scores, strict=True):
        pairs = list(zip(probe.logprobs, score.logprobs, strict=True))
        differences += [abs(math.exp(before) - math.exp(after)) for before, after in pairs]
        agreeing += abs(sum(after - before for before, after in pairs)) <= math.log(2)
    return Parity(len(probes), max(differences), sum(differences) / len(differences), agreeing / len(probes))
