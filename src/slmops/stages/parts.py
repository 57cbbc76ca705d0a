"""What several stages need: records and task of the dataset, rows as examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from slmops.core.pipeline import Progress
from slmops.data.records import read_records
from slmops.models.families import encode_lesson, family_of
from slmops.models.folder import context_of
from slmops.models.packing import Example
from slmops.models.tokenizer import Tokenizer
from slmops.tasks import load_task
from slmops.tasks.types import Labels, Prompt, Record, Task, messages_for
from slmops.training.examples import to_examples
from slmops.training.replication import FREE, Begins

_NAMED = 3


def read_part(dataset: Path, part: str) -> list[Record]:
    """The records of `train`, `validation`, `test` or `unlabelled`."""
    return read_records(dataset / f"{part}.jsonl")


def read_answered(dataset: Path, part: str, task: Task) -> list[tuple[Record, str]]:
    """The records of `part` with the text of their gold answer."""
    return [(record, task.write(record.gold)) for record in read_part(dataset, part)]


def read_task_spec(dataset: Path) -> dict[str, Any]:
    """The task's name and options, as `load_task` takes them."""
    spec: dict[str, Any] = json.loads((dataset / "task.json").read_text("utf-8"))
    return spec


def read_task(dataset: Path) -> Task:
    spec = read_task_spec(dataset)
    return load_task(spec["name"], **spec["options"])


def answered_examples(
    tokenizer: Tokenizer, task: Task, rows: Iterable[tuple[Record, str]], prompt: Prompt
) -> list[Example]:
    """Rows with the answers to learn, as packed examples."""
    family = family_of(tokenizer)
    asked = ((record.id, messages_for(task, prompt, record, answer)) for record, answer in rows)
    return to_examples((row, *encode_lesson(tokenizer, family, messages)) for row, messages in asked)


def readable(model: Path, task: Task, rows: Sequence[tuple[Record, str]], prompt: Prompt) -> list[tuple[Record, str]]:
    """The rows that the context of the model in its folder holds, with their answers."""
    examples, context = answered_examples(Tokenizer(model), task, rows, prompt), context_of(model)
    longer = {example.row for example in examples if example.length > context}
    return [row for row in rows if row[0].id not in longer]


def warn_of_long(report: Progress, part: str, texts: Sequence[str], done: str) -> None:
    """Tells what is `done` with rows that are longer than a model's context, the first of them by their texts."""
    named = ", ".join(f"{text[:60]!r}" for text in texts[:_NAMED]) + (" …" if len(texts) > _NAMED else "")
    report(0.0, f"warning: {len(texts)} rows of {part} are longer than the model's context, {done}: {named}")


def one_of_several(progress: Progress, name: str, names: Sequence[str], what: str) -> Callable[[int, int], None]:
    """Tells how far one of `names` is, as its share of all."""
    place = names.index(name)
    return lambda done, total: progress((place + done / total) / len(names), f"{name}: {done}/{total} {what}")


def text_of(rows: Iterable[tuple[Record, str]]) -> Callable[[str], str]:
    """A row's text and answer, from its id: what is shown of one that training stumbles over."""
    texts = {record.id: f"{record.text} → {answer}" for record, answer in rows}
    return texts.__getitem__


def answer_begins(tokenizer: Tokenizer, task: Task) -> Begins:
    """How answers of a closed set begin; nothing where they are free."""
    if not isinstance(task.grammar, Labels):
        return FREE
    answers = [tokenizer.encode(value) for value in task.grammar.values]
    places = zip(*answers, strict=False)  # up to the end of the shortest
    shared = next((place for place, ids in enumerate(places) if len(set(ids)) > 1), min(map(len, answers)) - 1)
    return Begins(tuple(sorted({ids[shared] for ids in answers})), shared)
