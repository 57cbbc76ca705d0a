"""Times of a model that may reuse nothing: before each message it reads a prompt that begins with another token.

In comes a job, out go milliseconds a message: `python -m benchmarks.without_reuse < job.json`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.child import run_module
from slmops.core.machine import default_threads
from slmops.models.folder import read_card
from slmops.runtimes.local import LocalModel
from slmops.runtimes.types import Sampling
from slmops.stages.parts import read_task
from slmops.tasks.types import Record, Source


@dataclass(frozen=True)
class Job:
    """A model's folder, the inputs that it is asked, and the dataset with the task."""

    folder: str
    inputs: Sequence[dict[str, Any]]
    dataset: str


def time_without_reuse(job: Job) -> list[float]:
    """Milliseconds from each text to the last token of its answer."""
    times: list[float] = run_module("benchmarks.without_reuse", job)["ms"]
    return times


def _time(job: Job) -> list[float]:
    folder, task = Path(job.folder), read_task(Path(job.dataset))
    model, card = LocalModel(folder, threads=default_threads()), read_card(folder)
    ask = task.short_messages if card and card.prompt == "short" else task.messages
    constraint, once = model.constraint(task.grammar), Sampling(max_tokens=1)
    times = []
    for inputs in [job.inputs[0], *job.inputs]:  # the first one warms it up
        messages = ask(Record("row", inputs, None, Source("benchmark")))
        other = next(token for token in range(1, 9) if token != model.prompt(messages)[0])
        list(model.stream((other,), once, None))
        began = time.perf_counter()
        chunks = list(model.stream(model.prompt(messages), Sampling(task.max_tokens), constraint))
        assert not any(chunk.reused_tokens for chunk in chunks)
        times.append((time.perf_counter() - began) * 1e3)
    return times[1:]


if __name__ == "__main__":
    print(json.dumps({"ms": _time(Job(**json.load(sys.stdin)))}))
