"""Rows that fine-tuning is measured on: as packed examples, and as conversations for a peer that tokenizes itself.

`intents` are 30 intents of banking from CLINC150, listed in an instruction of 142 tokens that all rows share; `gsm8k`
are questions and worked answers that share nothing. Knows no training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.public import CLINC150_TRAIN, read_public
from slmops.models.packing import Example
from slmops.models.tokenizer import Tokenizer
from slmops.stages.parts import answer_begins, answered_examples
from slmops.tasks import load_task
from slmops.tasks.types import Prompt, Record, Source, Task
from slmops.training.replication import Begins

RowsName = Literal["intents", "gsm8k"]
Conversation = Mapping[str, Any]  # prompt and completion, as TRL takes them

_DOMAINS = ("banking", "credit_cards")  # 15 intents each
_INSTRUCTION = "Answer with the one label that fits best."  # with the labels and the format: 142 tokens
_SEED = 7


@dataclass(frozen=True)
class Rows:
    """The same rows both ways; `begins` are the tokens that can begin an answer, where they are few."""

    examples: tuple[Example, ...]
    conversations: tuple[Conversation, ...]
    begins: Begins


def read_rows(name: RowsName, model: Path, count: int) -> Rows:
    """`count` rows of those for training, drawn at random.

    Raises:
        DataError: the data are not there, or are others.
    """
    task, pairs = _intents() if name == "intents" else _problems()
    prompt: Prompt = "full" if name == "intents" else "short"
    chosen = [pairs[place] for place in np.random.default_rng(_SEED).permutation(len(pairs))[:count]]
    records = [Record(str(n), {"text": text}, gold, Source(name, n + 1)) for n, (text, gold) in enumerate(chosen)]
    answered = [(record, task.write(record.gold)) for record in records]
    tokenizer = Tokenizer(model)
    return Rows(
        tuple(answered_examples(tokenizer, task, answered, prompt)),
        tuple(_conversation(task, prompt, record, answer) for record, answer in answered),
        answer_begins(tokenizer, task),
    )


def _intents() -> tuple[Task, list[tuple[str, str]]]:
    rows = [row for row in read_public("clinc150", "train", CLINC150_TRAIN) if row["domain"] in _DOMAINS]
    task = load_task("classification", labels=sorted({row["label"] for row in rows}), instruction=_INSTRUCTION)
    return task, [(row["text"], row["label"]) for row in rows]


def _problems() -> tuple[Task, list[tuple[str, str]]]:
    return load_task("mathematics"), [(row["question"], row["answer"]) for row in read_public("gsm8k", "train")]


def _conversation(task: Task, prompt: Prompt, record: Record, answer: str) -> Conversation:
    messages = task.messages(record) if prompt == "full" else task.short_messages(record)
    asked = [{"role": message.role, "content": message.content} for message in messages]
    return {"prompt": asked, "completion": [{"role": "assistant", "content": answer}]}
