"""The one benchmark: every model in a fresh process, the same prompts and threads, taking turns in small blocks.

In come subjects and rows, out go each subject's answers, times and memory. Taking turns means that whatever slows the
machine slows all alike, so that ratios hold where seconds do not. Where there are more rows than are needed to tell
times, the rest is answered many at once, after times and memory were taken. Knows no gold answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmops.core.errors import ModelError
from slmops.core.files import bytes_of
from slmops.models.folder import weight_files
from slmops.tasks.types import Prompt, Record

_BLOCK = 10  # prompts a model answers before the next one's turn: enough for its weights to be back in the cache
_MANY = 120  # prompts answered together
_WARMUP = 3
_FREE_TOKENS = 32


@dataclass(frozen=True)
class Subject:
    """A model folder, and how it is asked: with the long prompt or the short one, inside the task's grammar."""

    name: str
    folder: Path
    prompt: Prompt


@dataclass(frozen=True)
class Answered:
    """One row's answer with its log-probability among those that were possible, and its times, asked alone."""

    id: str
    text: str
    ttft_ms: float
    latency_ms: float
    tokens: int
    reused_tokens: int
    logprob: float


@dataclass(frozen=True)
class Benchmarked:
    """What a subject did: the text of each row's answer, its log-probability (None where it was not told), and what it
    took; `timed` are those asked alone."""

    name: str
    texts: tuple[str, ...]
    logprobs: tuple[float | None, ...]
    timed: tuple[Answered, ...]
    token_ms: tuple[float, ...]
    load_s: float
    load_memory_mb: float
    peak_memory_mb: float
    cpu_percent: float
    model_bytes: int
    disk_bytes: int


def benchmark(
    subjects: Sequence[Subject],
    rows: Sequence[Record],
    warmup: Sequence[Record],
    *,
    task: Mapping[str, Any],
    threads: int,
    timed: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Benchmarked]:
    """Lets all subjects answer all rows: `timed` ones (all, if None), evenly spread, alone and in turns of ten.

    Raises:
        ModelError: a subject's process ended; what it wrote last is told.
    """
    workers: list[_Worker] = []
    try:
        for subject in subjects:
            workers.append(_Worker(subject, task, threads))
        for worker in workers:  # one after another: loading times are not of two at once
            worker.load([_to_json(row) for row in warmup[:_WARMUP]])
        spread = spread_over(len(rows), timed)
        count = len(spread)
        order = [*spread, *sorted({*range(len(rows))}.difference(spread))]
        alone, together = [rows[at] for at in order[:count]], [rows[at] for at in order[count:]]
        for start in range(0, len(alone), _BLOCK):
            block = [_to_json(row) for row in alone[start : start + _BLOCK]]
            for worker in workers:
                worker.ask(block)
            report(min(start + _BLOCK, len(alone)), len(rows))
        if alone:
            for worker in workers:
                worker.measure()
        for start in range(0, len(together), _MANY):
            many = [_to_json(row) for row in together[start : start + _MANY]]
            for worker in workers:
                worker.ask_together(many)
            report(len(alone) + min(start + _MANY, len(together)), len(rows))
        return [worker.finish(order) for worker in workers]
    finally:
        for worker in workers:
            worker.stop()


def spread_over(rows: int, timed: int | None) -> list[int]:
    """Which of so many rows are timed: so many, evenly spread; all, if None."""
    count = rows if timed is None else min(timed, rows)
    return [rows * place // count for place in range(count)]


class _Worker:
    """A subject's process."""

    def __init__(self, subject: Subject, task: Mapping[str, Any], threads: int) -> None:
        self._subject = subject
        self._spec = {
            "folder": str(subject.folder),
            "prompt": subject.prompt,
            "task": dict(task),
            "threads": threads,
        }
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "PASSIVE",  # a waiting process must not burn the cores of the one whose turn it is
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "PYTHONSAFEPATH": "1",  # no file of the folder it is run in stands for a library
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # where a task of the user's own may be
        }
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "slmops.evaluation.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=environment,
        )
        self._timed: list[Answered] = []
        self._texts: list[str] = []  # of those asked together
        self._logprobs: list[float | None] = []
        self._cpu_s = self._wall_s = self._peak_memory_mb = 0.0
        self._loaded: dict[str, float] = {}
        self._token_ms: list[float] = []

    def load(self, warmup: list[dict[str, Any]]) -> None:
        self._loaded = self.call({"load": self._spec | {"warmup": warmup}})

    def ask(self, block: list[dict[str, Any]]) -> None:
        reply = self.call({"ask": block})
        self._timed += [Answered(**answer) for answer in reply["answers"]]
        self._cpu_s += reply["cpu_s"]
        self._wall_s += reply["wall_s"]

    def measure(self) -> None:
        """What is measured of answering one by one, beside the times."""
        self._token_ms = self.call({"write": _FREE_TOKENS})["token_ms"]
        self._peak_memory_mb = self.call({"peak": True})["peak_memory_mb"]

    def ask_together(self, rows: list[dict[str, Any]]) -> None:
        reply = self.call({"ask_together": rows})
        self._texts += reply["texts"]
        self._logprobs += reply["logprobs"]

    def finish(self, order: Sequence[int]) -> Benchmarked:
        """What it did; `order` are the rows in the order in which they were asked."""
        self.call({"end": True})
        folder = self._subject.folder
        texts = [*(answer.text for answer in self._timed), *self._texts]
        logprobs = [*(answer.logprob for answer in self._timed), *self._logprobs]
        asked_at = sorted(range(len(order)), key=order.__getitem__)
        return Benchmarked(
            self._subject.name,
            tuple(texts[at] for at in asked_at),
            tuple(logprobs[at] for at in asked_at),
            tuple(self._timed),
            tuple(self._token_ms),
            self._loaded["load_s"],
            self._loaded["load_memory_mb"],
            self._peak_memory_mb,
            100 * self._cpu_s / self._wall_s if self._wall_s else 0.0,
            sum(path.stat().st_size for path in weight_files(folder)),
            bytes_of(folder),
        )

    def call(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._said.seek(0)
            last = (self._said.read().strip().splitlines() or ["nothing"])[-1]
            raise ModelError(
                f"the process of {self._subject.name} ended with code {self._process.returncode}; it said: {last}",
                remedy="slmops ask MODEL PROMPT shows whether it loads; not enough memory is a common cause",
            )
        reply: dict[str, Any] = json.loads(line)
        return reply

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._said.close()


def _to_json(row: Record) -> dict[str, Any]:
    return {"id": row.id, "inputs": dict(row.inputs), "place": row.source.place}
