"""A whole project on a random two-layer model: three labels, some dozens of messages, seconds to run."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.tiny import write_model

LABELS = {
    "refund": ["refund", "money", "back", "charged", "twice", "card", "payment"],
    "track": ["parcel", "late", "where", "order", "arrive", "tracking", "courier"],
    "login": ["password", "account", "reset", "sign", "locked", "email"],
}
_FILLERS = ["please", "the", "my", "is", "to", "can", "you", "hello", "today", "i", "need", "help", "with"]
CONFIG = {
    "name": "tiny",
    "task": "classification",
    "data": "{train: data/labelled.jsonl, unlabelled: data/unlabelled.jsonl, test: data/test.jsonl}",
    "teacher": "{model: 'file:model', train: {method: full, epochs: 10, learning_rate: 0.01, noise: 0}}",
    "synthesis": "{accept: {confidence: 0.8}, augment: 2}",
    "student": "{from: teacher, layers: 1, train: {epochs: 12, learning_rate: 0.01}}",
    "optimization": "int4",
    "evaluation": "{compare: [int4]}",
}


def write_project(folder: Path, **changes: str | None) -> Path:
    """Writes model, data and slmops.yaml, a line for each section of CONFIG with `changes` laid over (None: left out);
    returns the path of slmops.yaml. The choices that would be probed are frozen, so that all machines make the same."""
    write_model(folder / "model", "llama", ("<|im_start|>", "<|im_end|>"), hidden_size=64, initializer_range=0.1)
    chance = random.Random(3)
    for name, count in (("labelled", 42), ("unlabelled", 20), ("test", 24)):
        rows = [_row(chance, number, name != "unlabelled") for number in range(count)]
        write_rows(folder / "data" / f"{name}.jsonl", rows)
    state = folder / ".slmops"
    state.mkdir()
    choices = {"number_format": "float32", "threads": 1, "gflops": {"float32": 50.0, "bfloat16": 1.0}}
    (state / "choices.json").write_text(json.dumps(choices))
    return write_config(folder, **changes)


def write_config(folder: Path, **changes: str | None) -> Path:
    """Writes slmops.yaml again."""
    lines = [f"{key}: {value}" for key, value in (CONFIG | changes).items() if value is not None]
    path = folder / "slmops.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _row(chance: random.Random, number: int, labelled: bool) -> dict[str, str]:
    label = list(LABELS)[number % len(LABELS)]
    words = chance.sample(LABELS[label], 3) + chance.sample(_FILLERS, 2)
    row = {"text": f"{' '.join(words)} {chance.randrange(10**6)}"}
    return row | {"label": label} if labelled else row
