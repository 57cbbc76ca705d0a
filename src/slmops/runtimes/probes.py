"""Probes: rows with the ids that were learned of them and the log-probabilities a model gave to their answers, carried
along and replayed after every step.

One parity check for all: after a conversion, a deployment, a swap and, later, on the device. Knows no task.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from slmops.core.errors import ModelError
from slmops.core.files import write_whole
from slmops.runtimes.types import Ids, Runtime, Scores
from slmops.tasks.types import Json, Message

PROBES = "probes.jsonl"
_ASKED = 16  # tokens of a prompt's end that are scored, too


@dataclass(frozen=True)
class Probe:
    """A prompt, an answer (ids, end token included) and the log-probabilities of the prompt's last tokens and the
    answer's; and what they were made of: a row, how it is asked, and its gold answer, which is written as `text`."""

    prompt: Ids
    answer: Ids
    logprobs: tuple[float, ...] = ()
    row: str = ""
    messages: tuple[Message, ...] = ()
    text: str = ""
    gold: Json = None

    @property
    def place(self) -> str:
        """The row as people find it: its id and how it begins."""
        said = self.messages[-1].content if self.messages else ""
        return f"row {self.row[:12]} ({said[:60]!r})"


@dataclass(frozen=True)
class Parity:
    """How far a model is from its probes: largest and mean difference of a token's probability, the share of probes
    whose answer it finds as likely as before (within a factor of two), the largest difference of a token's
    log-probability, and where that was."""

    probes: int
    max_probability_difference: float
    mean_probability_difference: float
    agreeing: float
    max_logprob_difference: float
    worst: str


def record_probes(runtime: Runtime, asked: Sequence[Probe], path: Path, adapter: str | None = None) -> list[Probe]:
    """Scores what is asked, and writes it as probes."""
    scores = runtime.score(pairs_of(asked), adapter)
    probes = [
        replace(probe, logprobs=tuple(round(value, 6) for value in score.logprobs))
        for probe, score in zip(asked, scores, strict=True)
    ]
    write_whole(path, "".join(json.dumps(asdict(probe), ensure_ascii=False) + "\n" for probe in probes))
    return probes


def read_probes(path: Path) -> list[Probe]:
    """Raises ModelError where there are none."""
    probes = []
    try:
        for line in filter(None, path.read_text("utf-8").split("\n")):
            data = json.loads(line)
            told = {name: tuple(data[name]) for name in ("prompt", "answer", "logprobs")}
            probes.append(Probe(**data | told | {"messages": tuple(Message(**one) for one in data["messages"])}))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"holds no probes: {error!r}", where=str(path), remedy="make the model again") from error
    if not probes:
        raise ModelError("there are no probes", where=str(path), remedy="make the model again")
    return probes


def pairs_of(probes: Sequence[Probe]) -> list[tuple[Ids, Ids]]:
    """What a runtime scores: the answer, and what was asked last, which nobody teaches a model. An answer that it is
    sure of hardly moves, whatever happens to its weights."""
    begins = [max(1, len(probe.prompt) - _ASKED) for probe in probes]
    return [(probe.prompt[:at], probe.prompt[at:] + probe.answer) for at, probe in zip(begins, probes, strict=True)]


def replay_probes(runtime: Runtime, path: Path, adapter: str | None = None) -> Parity:
    """Scores the probes again.

    Raises:
        ModelError: there are no probes.
    """
    probes = read_probes(path)
    return compare(probes, runtime.score(pairs_of(probes), adapter))


def compare(probes: Sequence[Probe], scores: Sequence[Scores]) -> Parity:
    """How far `scores` are from what the probes say."""
    differences, agreeing, largest, worst = [], 0, 0.0, ""
    for probe, score in zip(probes, scores, strict=True):
        pairs = list(zip(probe.logprobs, score.logprobs, strict=True))
        differences += [abs(math.exp(before) - math.exp(after)) for before, after in pairs]
        agreeing += abs(sum(after - before for before, after in pairs)) <= math.log(2)
        moved = max((abs(after - before) for before, after in pairs), key=_or_infinite)
        if _or_infinite(moved) > largest:
            largest, worst = _or_infinite(moved), probe.place
    mean = sum(differences) / len(differences)
    return Parity(len(probes), max(differences), mean, agreeing / len(probes), largest, worst)


def _or_infinite(value: float) -> float:
    """What is no number is as far off as can be."""
    return math.inf if math.isnan(value) else value
