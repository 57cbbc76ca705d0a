"""What fine-tuning needs, estimated and measured: `python -m benchmarks.finetuning`.

The default model learns by eight configurations on CLINC150 (a shared instruction) and GSM8K (nothing shared), each a
few steps in a process of its own, whose peak memory is held against what was estimated before it began. And LoRA on a
base in four bits, with activations computed twice, against full fine-tuning at its defaults.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.public import read_intents, read_public
from benchmarks.results import ROOT, Asked, Group, Measured, Target, of_one, parser, run
from benchmarks.steps import last_step_seconds
from slmops.core.machine import default_threads, peak_memory_mb
from slmops.core.measurement import Interval
from slmops.models.folder import read_json
from slmops.models.forward import load_causal_lm
from slmops.models.references import resolve
from slmops.models.tokenizer import Tokenizer
from slmops.stages.parts import answer_begins, answered_examples
from slmops.tasks import load_task
from slmops.tasks.types import Record, Source, Task
from slmops.training.config import TrainConfig
from slmops.training.estimate import Lessons, Shape, training_needs
from slmops.training.methods import prepare

MODEL, STEPS = "smollm2-135m-instruct", 4
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
    note = f"{found['seconds']:.1f} s a step"
    yield f"memory-{kind.name}", Measured(found["estimated"], Interval.exact(off), found["peak"], note)


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
    model = prepare(load_causal_lm(folder), config, 0)
    seconds = last_step_seconds(model, examples, config, "float32", 0, begins)
    told = {"peak": peak_memory_mb() * 1.048576, "estimated": needs.memory / 1e6, "seconds": seconds}
    print(json.dumps(told))


def _records(name: str, count: int) -> tuple[Task, list[Record]]:
    if name == "gsm8k":
        pairs = [(row["question"], row["answer"]) for row in read_public(name, "train")[:count]]
        task = load_task("mathematics")
    else:
        rows = read_intents("train")
        pairs = [(row["text"], row["label"]) for row in rows[:: len(rows) // count][:count]]
        task = load_task("classification", labels=sorted({row["label"] for row in rows}))
    return task, [
        Record(str(number), {"text": text}, gold, Source(name, number)) for number, (text, gold) in enumerate(pairs)
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(next(kind for kind in KINDS if kind.name == sys.argv[2]))
        sys.exit()
    sys.exit(run("finetuning", groups(), parser(__doc__.splitlines()[0]).parse_args()))
