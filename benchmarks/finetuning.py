"""What fine-tuning needs, estimated and measured: `python -m benchmarks.finetuning`.

The default model learns by eight configurations on CLINC150 (a shared instruction) and GSM8K (nothing shared), each a
few steps in a process of its own, whose peak memory is held against what was estimated before it began. And LoRA on a
base in four bits against full fine-tuning, both with activations computed twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.public import read_public
from benchmarks.results import ROOT, Asked, Group, Measured, Target, of_one, parser, run
from slmops.core.machine import default_threads, peak_memory_mb
from slmops.models.folder import read_json
from slmops.models.forward import load_causal_lm
from slmops.models.references import resolve
from slmops.models.tokenizer import Tokenizer
from slmops.stages.parts import answer_begins, answered_examples
from slmops.tasks import load_task
from slmops.tasks.types import Record, Source, Task
from slmops.training.config import TrainConfig
from slmops.training.estimate import Lessons, Shape, training_needs
from slmops.training.losses import cross_entropy
from slmops.training.methods import prepare
from slmops.training.trainer import train

MODEL, STEPS, INTENTS = "smollm2-135m-instruct", 4, 30
NEAR = Target("memory within 20 %", "at most", 0.2)
SMALL = Target("QLoRA / full ≤ 0.35", "at most", 0.35)


@dataclass(frozen=True)
class Kind:
    """A configuration, and the rows that it is tried on."""

    name: str
    rows: str
    options: dict[str, Any]


WHOLE = {"upper_layers": 1.0}
KINDS = (
    Kind("lora-intents", "clinc150", {"method": "lora", **WHOLE}),
    Kind("lora-upper-intents", "clinc150", {"method": "lora", "batch_size": 32}),
    Kind("full-intents", "clinc150", {"method": "full", **WHOLE}),
    Kind("lora-gsm8k", "gsm8k", {"method": "lora", **WHOLE}),
    Kind("lora-small-gsm8k", "gsm8k", {"method": "lora", "max_tokens": 256, **WHOLE}),
    Kind("full-gsm8k", "gsm8k", {"method": "full", **WHOLE}),
    Kind("full-twice-gsm8k", "gsm8k", {"method": "full", "gradient_checkpointing": True, **WHOLE}),
    Kind("qlora-twice-gsm8k", "gsm8k", {"method": "qlora", "gradient_checkpointing": True, **WHOLE}),
)


def groups() -> list[Group]:
    made = []
    for kind in KINDS:
        options = ", ".join(f"{name} {value}" for name, value in kind.options.items())
        asked = Asked(
            f"memory-{kind.name}", f"peak memory, estimated (peer: measured); {options}; {kind.rows}", "MB", NEAR
        )
        made.append(Group((asked,), lambda wanted, kind=kind: _estimated(kind)))  # type: ignore[misc]
    small = Asked(
        "qlora-memory",
        "peak memory of QLoRA with activations computed twice (peer: full, at its defaults)",
        "MB",
        SMALL,
    )
    return [*made, Group((small,), lambda wanted: _small())]


def _estimated(kind: Kind) -> Iterator[tuple[str, Measured]]:
    found = _in_a_process(kind)
    off = abs(found["estimated"] / found["peak"] - 1)
    measured = of_one(found["estimated"], found["peak"], note=f"{found['seconds']:.1f} s a step")
    yield f"memory-{kind.name}", Measured(measured.ours, of_one(off).decides, measured.peer, measured.note)


def _small() -> Iterator[tuple[str, Measured]]:
    by_name = {kind.name: kind for kind in KINDS}
    ours, full = (_in_a_process(by_name[name])["peak"] for name in ("qlora-twice-gsm8k", "full-gsm8k"))
    yield "qlora-memory", of_one(ours, full)


def _in_a_process(kind: Kind) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.finetuning", "--child", kind.name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def _child(kind: Kind) -> None:
    """Trains a few steps and prints what they needed."""
    import time

    import torch

    torch.set_num_threads(default_threads())
    config = TrainConfig.model_validate(kind.options)
    folder = resolve(MODEL).folder
    tokenizer, (task, records) = Tokenizer(folder), _records(kind.rows, STEPS * config.batch_size)
    rows = [(record, task.write(record.gold)) for record in records]
    examples, begins = answered_examples(tokenizer, task, rows, "full"), answer_begins(tokenizer, task)
    needs = training_needs(
        Shape.of(read_json(folder / "config.json")), config, Lessons.of(examples, config, bool(begins)), "float32"
    )
    model, ends = prepare(load_causal_lm(folder), config, 0), [time.perf_counter()]
    with tempfile.TemporaryDirectory() as scratch:
        train(
            model,
            examples,
            config,
            cross_entropy,
            begins=begins,
            seed=0,
            number_format="float32",
            scratch=Path(scratch),
            report=lambda share, text: ends.append(time.perf_counter()),
        )
    told = {"peak": peak_memory_mb() * 1.048576, "estimated": needs.memory / 1e6, "seconds": ends[-1] - ends[-2]}
    print(json.dumps(told))


def _records(name: str, count: int) -> tuple[Task, list[Record]]:
    rows = read_public(name, "train")
    if name == "gsm8k":
        pairs = [(row["question"], row["answer"]) for row in rows[:count]]
        task = load_task("mathematics")
    else:
        intents = sorted({row["label"] for row in rows} - {"oos"})[:INTENTS]
        chosen = [row for row in rows if row["label"] in intents]
        pairs = [(row["text"], row["label"]) for row in chosen[:: len(chosen) // count][:count]]
        task = load_task("classification", labels=intents)
    return task, [
        Record(str(number), {"text": text}, gold, Source(name, number)) for number, (text, gold) in enumerate(pairs)
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(next(kind for kind in KINDS if kind.name == sys.argv[2]))
        sys.exit()
    sys.exit(run("finetuning", groups(), parser(__doc__.splitlines()[0]).parse_args()))
