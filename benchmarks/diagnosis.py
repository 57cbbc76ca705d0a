"""Diagnosis in words, on sets that had no part in choosing its limits: `python -m benchmarks.diagnosis`.

The default model learns by LoRA or wholly. Runs are made to have exactly one fault each, and others to have none; what
is counted is how many faults were told, and how many healthy runs were called sick. The limits were chosen on the
example's support messages and on GSM8K, which are not used here; those of label noise on CLINC150's intents 31 to 60,
so that its runs have the first 30. A first round, on CLINC150's travel and XQuAD, told 10 of 16 faults and called none
of six healthy runs sick; after it the rules were changed, and the runs below are of other sets. They told 12 of 16, and
two rules were changed after them (for a rate that moves nothing, and for rows learned by heart). With these, two of the
ten healthy runs were called short of data; no rule was changed after that. Whether that was true is measured, too:
those whose answers are written, both that were called so and the one that was not, learn once more with twice as many.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.beside_trl import number_format
from benchmarks.learn import MODEL
from benchmarks.public import read_intents, read_public
from benchmarks.results import Asked, Group, Measured, Target, of_one, parser, run
from slmops.core.machine import default_threads
from slmops.core.statistics import bootstrap
from slmops.models.forward import load_causal_lm
from slmops.models.references import resolve
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.olive import Texts
from slmops.stages.diagnosis import course_of, faults_of_rows
from slmops.stages.olive_texts import faults_of_texts
from slmops.stages.parts import answer_begins, answered_examples
from slmops.tasks import load_task
from slmops.tasks.types import Record, Source, Task
from slmops.training.config import TrainConfig
from slmops.training.diagnosis import diagnose
from slmops.training.losses import cross_entropy
from slmops.training.methods import prepare
from slmops.training.texts import alone
from slmops.training.trainer import train

SEED, HELD_OUT = 7, 96
UPPER = {"method": "lora", "upper_layers": 1 / 3}
ALL_KNOWN = Target("each recognised", "exactly", 1)
NO_ALARM = Target("none on ten healthy runs", "exactly", 0)


@dataclass(frozen=True)
class Run:
    """Rows of a public set, how a model learns them, and the fault that this has; "" for none."""

    fault: str
    set: str  # a name, and for CLINC150 a domain
    rows: int
    options: Mapping[str, Any]
    exchanged: float = 0.0  # the share of labels given to other rows


TASKS = {
    "clinc150": ("classification", ("text",), "label"),
    "sick": ("inference", ("premise", "hypothesis"), "label"),
    "xquad_en": ("question-answering", ("context", "question"), "answers"),
    "dialogsum": ("summarization", ("document",), "summary"),
}
LONG = {**UPPER, "epochs": 2}
FAULTS = [
    Run(fault, name, rows, {**UPPER, **options})
    for name, many, few in (("clinc150/kitchen_and_dining", 600, 30), ("dialogsum", 100, 16))
    for fault, rows, options in (
        ("over-fitting", few * 2, {"method": "full", "epochs": 20, "schedule": "constant", "validations": 8}),
        ("under-fitting", many, {"rank": 1, "targets": ["q_proj"], "upper_layers": 1 / 30}),
        ("divergence", many, {"epochs": 2, "learning_rate": 0.1}),
        ("learning rate too high", many, {"epochs": 2, "learning_rate": 1.5e-2}),
        ("learning rate too low", many, {"epochs": 2, "learning_rate": 1.5e-5}),
        ("too little data", few, {"epochs": 15}),
    )
] + [Run("label noise", "clinc150/first", rows, LONG, share) for rows, share in ((1200, 0.15), (900, 0.25))]
HEALTHY = [
    *(Run("", f"clinc150/{domain}", 900, LONG) for domain in ("work", "home", "utility", "banking")),
    Run("", "clinc150/auto_and_commute", 900, {**UPPER, "method": "full", "learning_rate": 8e-4, "epochs": 3}),
    Run("", "clinc150/small_talk", 600, {**LONG, "method": "dora", "rank": 8}),
    Run("", "sick", 2000, LONG),
    Run("", "xquad_en", 240, LONG),
    Run("", "dialogsum", 120, UPPER),
    Run("", "dialogsum", 120, {**LONG, "rank": 8, "schedule": "wsd"}),
]


@dataclass(frozen=True)
class Told:
    """The faults told of a run, and how much less answers to rows held out cost than before it (nats a token)."""

    faults: list[str]
    saved: float


def groups() -> list[Group]:
    known = Asked("recognised", "share of runs with a fault of which that fault was told", "share", ALL_KNOWN)
    alarms = Asked("alarms", "healthy runs of which any fault was told", "", NO_ALARM)
    more = Asked(
        "more-rows", "what twice the rows save, of healthy runs called short of data (peer: of others)", "share"
    )
    return [
        Group((known,), lambda wanted: _recognised()),
        Group((alarms,), lambda wanted: _alarms()),
        Group((more,), lambda wanted: _with_more_rows()),
    ]


def _recognised() -> Iterator[tuple[str, Measured]]:
    told = [(one.fault, one.set, found(one).faults) for one in FAULTS]
    told += [(fault, "dialogsum", faults) for fault, faults in _of_rows().items()]
    known = [fault in faults for fault, _, faults in told]
    also = [f"{fault} on {name}: {', '.join(faults) or 'nothing'}" for fault, name, faults in told if faults != [fault]]
    share = bootstrap(np.array(known, dtype=float)[:, None], lambda sums: sums[..., 0] / len(known), seed=SEED)
    yield "recognised", Measured(share.value, share, note=f"told of those that are not alone: {'; '.join(also)}")


def _alarms() -> Iterator[tuple[str, Measured]]:
    told = [(one, found(one).faults) for one in HEALTHY]
    alarms = [f"{one.set} {dict(one.options)} called {faults}" for one, faults in told if faults]
    yield "alarms", of_one(float(len(alarms)), note="; ".join([f"of {len(told)}", *alarms]))


def _with_more_rows() -> Iterator[tuple[str, Measured]]:
    """As a share of what the run itself saved."""
    more: dict[bool, list[float]] = {True: [], False: []}  # by whether it was called short of data
    notes = []
    for one in HEALTHY:
        if _has_labels(one):
            continue
        once, twice = found(one), found(one, times=2)
        gained, is_called = twice.saved / once.saved - 1, "too little data" in once.faults
        more[is_called].append(gained)
        notes.append(f"{one.set} {one.rows}: {gained:+.1%}{' (called)' * is_called}")
    called, others = (float(np.mean(more[is_called])) for is_called in (True, False))
    yield "more-rows", of_one(called, others, note="; ".join(notes))


def found(one: Run, times: int = 1) -> Told:
    """What is told of a run; with so many `times` its rows, beside the same rows held out."""
    import torch

    torch.set_num_threads(default_threads())
    folder, config = resolve(MODEL).folder, TrainConfig.model_validate(one.options)
    task, answered = _read(one, times)
    tokenizer = Tokenizer(folder)
    examples = answered_examples(tokenizer, task, answered, "short")
    begins, held_out = answer_begins(tokenizer, task), examples[one.rows : one.rows + HELD_OUT]
    learned = examples[: one.rows] + examples[one.rows + HELD_OUT :]
    course = course_of(learned, config, closed=bool(begins), rounded=False)
    with tempfile.TemporaryDirectory() as scratch:
        curve = train(
            prepare(load_causal_lm(folder), config, SEED),
            learned,
            config,
            cross_entropy,
            begins=begins,
            validation=held_out,
            seed=SEED,
            number_format=number_format(),
            scratch=Path(scratch),
        )
    faults = [fault.name for fault in (*diagnose(curve, course), *faults_of_rows(task, answered[: one.rows]))]
    print(f"{one.fault or 'healthy'} · {one.set}: {', '.join(faults) or 'nothing'}", flush=True)
    losses = [point.validation_loss for point in curve if point.validation_loss is not None]
    return Told(list(faults), losses[0] - min(losses))


def _has_labels(one: Run) -> bool:
    return TASKS[one.set.partition("/")[0]][2] == "label"


def _read(one: Run, times: int = 1) -> tuple[Task, list[tuple[Record, str]]]:
    name, _, domain = one.set.partition("/")
    kind, parts, answer = TASKS[name]
    if domain == "first":
        rows = read_intents("train")
    else:
        rows = [row for row in read_public(name, "train") if not domain or row["domain"] == domain]
    draw = np.random.default_rng(SEED)
    rows = [rows[place] for place in draw.permutation(len(rows))[: times * one.rows + HELD_OUT]]
    golds = [row[answer][0] if isinstance(row[answer], list) else row[answer] for row in rows]
    chosen = np.flatnonzero(draw.random(len(rows)) < one.exchanged)
    for place, other in zip(chosen, np.roll(chosen, 1), strict=True):
        golds[place] = rows[other][answer]
    options = {"labels": sorted(set(golds))} if _has_labels(one) else {}
    task = load_task(kind, **options)
    answered = []
    for number, (row, gold) in enumerate(zip(rows, golds, strict=True)):
        given = {part if part != "document" else "text": row[part] for part in parts}
        answered.append((Record(str(number), given, gold, Source(name, number + 1)), task.write(gold)))
    return task, answered


def _of_rows() -> dict[str, list[str]]:
    """What is told of rows that are wrong themselves: answers cut off, texts that never end."""
    folder = resolve(MODEL).folder
    task, answered = _read(Run("", "dialogsum", 300, UPPER))
    cut = [(record, answer[:100]) for record, answer in answered]
    tokenizer = Tokenizer(folder)
    texts = [f"Dialogue: {record.text[:300]} Summary: {answer}" for record, answer in answered]
    endless = alone((tokenizer.encode(text) for text in texts), 1024, None)
    asked = Texts(("rows",), None, ("text",), None, False, False, "", 1024, None)
    return {
        "truncated answers": [fault.name for fault in faults_of_rows(task, cut)],
        "no end token": [fault.name for fault in faults_of_texts(asked, endless, 1024, folder)],
    }


if __name__ == "__main__":
    sys.exit(run("diagnosis", groups(), parser(__doc__.splitlines()[0]).parse_args()))
