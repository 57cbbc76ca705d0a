"""Every task type on its public set: `python -m benchmarks.tasks`.

The default model is fine-tuned on some training rows and answers test rows it has never seen, beside itself as it was
and the task's classical baseline, by `slmops run` as a user would. Rows and epochs are so few that each takes minutes
on two cores; that chose them, and no test figure. CLINC150 and SICK learned at first from fewer rows, until it was seen
that the loss on these still fell when they ended. Mathematics is judged by the loss on right solutions: a model of this
size does not calculate.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.projects import artifacts, read_report, slmops, write_jsonl
from benchmarks.public import read_intents, read_public
from benchmarks.results import Asked, Group, Measured, Target, of_one, parser, run
from slmops.core.measurement import Interval
from slmops.core.statistics import paired_difference
from slmops.data.grams import normalise
from slmops.evaluation.summary import Summary
from slmops.runtimes.local import LocalModel
from slmops.stages.parts import read_part, read_task

_ASKED = ("text", "premise", "hypothesis", "context", "question", "document")
MINUTES = Target("20 minutes at most", "at most", 20)
BETTER = Target("tuned above untuned", "above", 0)


@dataclass(frozen=True)
class PublicSet:
    """A public set, the task it is for, and how much of it is used."""

    name: str
    task: Mapping[str, str | int]
    train: int
    test: int
    epochs: float
    least: Target | None = None
    batch_size: int = 8

    @property
    def by_loss(self) -> bool:
        return self.task["type"] == "mathematics"


SETS = (
    PublicSet("clinc150", {"type": "classification"}, 3000, 450, 2, batch_size=32),
    PublicSet("sick", {"type": "inference"}, 4500, 400, 2, batch_size=32),
    PublicSet(
        "dstc8_buses",
        {"type": "extraction", "schema": "from-data", "max_tokens": 96},
        1000,
        250,
        2,
        Target("entity F1 ≥ 0.85", "at least", 0.85),
    ),
    PublicSet("xquad_en", {"type": "question-answering", "max_tokens": 32}, 300, 80, 1),
    PublicSet("gsm8k", {"type": "mathematics", "max_tokens": 160}, 250, 40, 1),
    PublicSet("dialogsum", {"type": "summarization", "max_tokens": 80}, 250, 50, 1),
    PublicSet("sgd_conversations", {"type": "conversation", "max_tokens": 48}, 120, 40, 1),
)


def groups() -> list[Group]:
    return [Group(tuple(_asked(one)), lambda wanted, one=one: _measure(one)) for one in SETS]  # type: ignore[misc]


def _asked(one: PublicSet) -> Iterator[Asked]:
    rows = f"{one.name}, {one.train} rows to learn, {one.test} to judge"
    what = "loss a token of right solutions, untuned (peer: tuned)" if one.by_loss else "tuned (peer: untuned)"
    yield Asked(f"{one.name}-tuned", f"{what}; {rows}", "", BETTER)
    if not one.by_loss:
        yield Asked(f"{one.name}-classical", f"tuned (peer: the classical baseline, if any); {rows}", "")
    if one.least:
        yield Asked(f"{one.name}-least", f"tuned; {rows}", "", one.least)
    yield Asked(f"{one.name}-minutes", f"slmops run; {rows}", "min", MINUTES)


def _measure(one: PublicSet) -> Iterator[tuple[str, Measured]]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_project(root, one)
        begun = time.perf_counter()
        slmops("run", cwd=root)
        yield f"{one.name}-minutes", of_one((time.perf_counter() - begun) / 60)
        told = read_report(root)
        summary = Summary.from_json({name: value for name, value in told.items() if name != "page"})
        if one.by_loss:
            yield f"{one.name}-tuned", _losses(root)
            return
        tuned = summary.figure("student", summary.quality)
        assert tuned is not None
        for against, id in (("untrained", "tuned"), ("classical", "classical")):
            yield f"{one.name}-{id}", _compared(summary, tuned, against)
        if one.least:
            yield f"{one.name}-least", Measured(tuned.value, tuned, note=summary.quality)


def _compared(summary: Summary, tuned: Interval, against: str) -> Measured:
    other = summary.figure(against, summary.quality)
    pair = next((pair for pair in summary.comparisons if (pair.a, pair.b) == ("student", against)), None)
    if other is None or pair is None:
        return Measured(tuned.value, tuned, note=f"{summary.quality}; there is no such baseline")
    return Measured(tuned.value, pair.difference, other.value, note=f"{summary.quality}; interval: the difference")


def _losses(root: Path) -> Measured:
    """Mean negative log-probability of a token of the gold answers, by the model as it was and by the tuned one."""
    store, made = artifacts(root)
    dataset = store.open(made["dataset"])
    task, rows = read_task(dataset), read_part(dataset, "test")
    sums = []
    for stage in ("pruned", "student"):
        model = LocalModel(store.open(made[stage]))
        pairs = [(model.prompt(task.messages(row)), model.answer_ids(task.write(row.gold))) for row in rows]
        sums.append(np.array([[-scored.total, len(scored.logprobs)] for scored in model.runtime.score(pairs)]))
    before, after = sums
    difference = paired_difference(before, after, lambda parts: parts[..., 0] / parts[..., 1], seed=0)
    before_loss, after_loss = (float(part[:, 0].sum() / part[:, 1].sum()) for part in sums)
    return Measured(before_loss, difference, after_loss, note="interval: the difference")


def _write_project(root: Path, one: PublicSet) -> None:
    test = _drawn(_rows(one.name, "test"), one.test)
    asked = {_asked_text(row) for row in test}  # sets of conversations say "yes, please" on both sides
    train = _drawn([row for row in _rows(one.name, "train") if _asked_text(row) not in asked], one.train)
    for part, rows in (("train", train), ("test", test)):
        write_jsonl(root / f"{part}.jsonl", rows)
    config: dict[str, Any] = {
        "name": one.name.replace("_", "-"),
        "task": one.task,
        "data": {"train": "train.jsonl", "test": "test.jsonl"},
        "student": {
            "model": "smollm2-135m-instruct",
            "prompt": "full",
            "train": {
                "method": "lora",
                "epochs": one.epochs,
                "batch_size": one.batch_size,  # the instruction is computed once for all of a batch
                "learning_rate": 1.5e-3,
                "quantization_aware": 0,
            },
        },
        "optimization": [],
        "evaluation": {"compare": ["untrained", "student", "classical"], "bench": {"messages": 2}},
    }
    (root / "slmops.yaml").write_text(json.dumps(config))


def _rows(name: str, part: str) -> list[dict[str, Any]]:
    if name != "clinc150":
        return read_public(name, part)
    return [{"text": row["text"], "label": row["label"]} for row in read_intents(part)]


def _drawn(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Rows from all over the file: some are sorted by label, or by article."""
    chosen = np.random.default_rng(0).permutation(len(rows))[:count]
    return [rows[place] for place in chosen]


def _asked_text(row: dict[str, Any]) -> str:
    turns = [turn["content"] for turn in row.get("messages", [])[:-1]]
    return normalise(" ".join([*(row.get(name, "") for name in _ASKED), *turns]))


if __name__ == "__main__":
    sys.exit(run("tasks", groups(), parser(__doc__.splitlines()[0]).parse_args()))
