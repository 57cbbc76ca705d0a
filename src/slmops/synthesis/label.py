"""A local teacher answers unlabelled records of a closed label set. Keeps its confidence; rejects the doubtful."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from slmops.core.machine import keep_freed_memory
from slmops.runtimes.local import LocalModel
from slmops.tasks.types import Answer, Record, Task

_AT_ONCE = 512


@keep_freed_memory()
def label_records(
    model: LocalModel,
    task: Task,
    records: Sequence[Record],
    *,
    by: str,
    accept_confidence: float,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Record]:
    """The records with the teacher's answer: its distribution over the labels, and why it was rejected if it was."""
    trie = model.trie(task.grammar)
    if trie is None or task.grammar is None:
        raise ValueError(f"{task.name} has no closed label set")
    labels = task.grammar.values
    answered = []
    for start in range(0, len(records), _AT_ONCE):
        chunk = records[start : start + _AT_ONCE]
        logprobs = model.runtime.choose([model.prompt(task.messages(record)) for record in chunk], trie)
        for record, row in zip(chunk, np.exp(logprobs), strict=True):
            best = int(row.argmax())
            confident = float(row[best]) >= accept_confidence
            reason = None if confident else f"confidence {row[best]:.2f} is below {accept_confidence:g}"
            probabilities = {label: round(float(p), 5) for label, p in zip(labels, row, strict=True)}
            answer = Answer(labels[best], by, reason, probabilities)
            answered.append(replace(record, answers=(*record.answers, answer)))
        report(min(start + _AT_ONCE, len(records)), len(records))
    return answered
