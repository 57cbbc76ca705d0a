"""Fine-tuning: `python -m benchmarks.finetuning`, or `make bench-finetuning`.

What a training needs, estimated and measured on eight configurations; a base in four bits beside others'
(four_bits.py); speed, memory and losses beside TRL's SFTTrainer (beside_trl.py); the same file beside Olive
(beside_olive.py); what is gained by keeping the states of layers that stay, and by ending trials early; whether a
training that was killed comes to the same weights (trials.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import beside_olive, beside_trl, four_bits, trials
from benchmarks.beside_trl import number_format
from benchmarks.learn import Found, Job, learn
from benchmarks.lessons import RowsName
from benchmarks.results import Asked, Group, Measured, Target, of_one, parser, run
from slmops.core.measurement import Interval
from slmops.training.config import TrainConfig

STEPS = 4
NEAR = Target("memory within 20 %", "at most", 0.2)
IN_TIME = Target("time within 30 %", "at most", 0.3)
SMALL = Target("QLoRA / full ≤ 0.35", "at most", 0.35)


@dataclass(frozen=True)
class Kind:
    """A configuration, and the rows that it is tried on."""

    name: str
    rows: RowsName
    options: dict[str, Any]

    def found(self) -> Found:
        count = STEPS * TrainConfig.model_validate(self.options).batch_size
        return learn(Job(self.rows, count, self.options, number_format(), plain=False))


WHOLE = {"upper_layers": 1.0}
KINDS = (
    Kind("lora-intents", "intents", {"method": "lora", **WHOLE}),
    Kind("lora-upper-intents", "intents", {"method": "lora", "batch_size": 32}),
    Kind("full-intents", "intents", {"method": "full", **WHOLE}),
    Kind("lora-gsm8k", "gsm8k", {"method": "lora", **WHOLE}),
    Kind("lora-small-gsm8k", "gsm8k", {"method": "lora", "max_tokens": 256, **WHOLE}),
    Kind("full-gsm8k", "gsm8k", {"method": "full", **WHOLE}),
    Kind("full-twice-gsm8k", "gsm8k", {"method": "full", "gradient_checkpointing": True, **WHOLE}),
    Kind("qlora-twice-gsm8k", "gsm8k", {"method": "qlora", "gradient_checkpointing": True, **WHOLE}),
)
LEAST = Kind("qlora", "gsm8k", {"method": "qlora", "max_tokens": 256, "gradient_checkpointing": True, **WHOLE})


def groups() -> list[Group]:
    made = []
    for kind in KINDS:
        options = ", ".join(f"{name} {value}" for name, value in kind.options.items())
        words = f"estimated (peer: measured); {options}; {kind.rows}"
        asked = (
            Asked(f"memory-{kind.name}", f"peak memory, {words}", "MB", NEAR),
            Asked(f"time-{kind.name}", f"time of {STEPS} steps' learning, {words}", "s", IN_TIME),
        )
        made.append(Group(asked, lambda wanted, kind=kind: _estimated(kind)))  # type: ignore[misc]
    small = Asked("qlora-memory", f"peak memory of QLoRA, {LEAST.options} (peer: full, at its defaults)", "MB", SMALL)
    made.append(Group((small,), lambda wanted: _small()))
    return [*made, *four_bits.groups(), *beside_trl.groups(), *beside_olive.groups(), *trials.groups()]


def _estimated(kind: Kind) -> Iterator[tuple[str, Measured]]:
    found = kind.found()
    yield f"memory-{kind.name}", _held_against(found.estimated_mb, found.peak_mb)
    yield f"time-{kind.name}", _held_against(found.estimated_s, float(np.mean(found.learning_s)) * STEPS)


def _held_against(estimated: float, measured: float) -> Measured:
    return Measured(estimated, Interval.exact(abs(estimated / measured - 1)), measured)


def _small() -> Iterator[tuple[str, Measured]]:
    full = next(kind for kind in KINDS if kind.name == "full-gsm8k")
    ours, peer = (kind.found().peak_mb for kind in (LEAST, full))
    yield "qlora-memory", of_one(ours, peer)


if __name__ == "__main__":
    sys.exit(run("finetuning", groups(), parser(__doc__.splitlines()[0]).parse_args()))
