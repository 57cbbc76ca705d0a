"""`vocabulary`: the tokens that a student keeps of its source's, and the tokenizer that knows these alone.

What the student is cut to otherwise changes nothing of it: students of many shapes learn from one cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from slmops.core.pipeline import Estimate, Stage, Work
from slmops.data.records import read_records
from slmops.models.families import encode_lesson, family_of
from slmops.models.folder import read_json, text_part
from slmops.models.tokenizer import Ids, Tokenizer
from slmops.optimization.vocabulary import trim_tokenizer, write_kept, write_tokenizer
from slmops.stages.base_models import source_of_student, stored_base
from slmops.stages.parts import read_answered, read_task
from slmops.stages.project import Project
from slmops.tasks.types import PROMPTS, Labels, Record, Task, messages_for


def vocabulary_stage(project: Project, identity: str | None) -> Stage:
    """`identity` is that of student.model, None where the student is cut from the teacher."""
    section = {"model": identity, "at_least": project.student.vocabulary}
    inputs = {"dataset": "dataset"} | ({"teacher": "teacher"} if project.student.model is None else {})
    inputs |= {"labels": "labels"} if project.teacher else {}  # whose answers are learned, too
    stored = stored_base(project, project.student.model)
    return Stage("vocabulary", 1, inputs, section, partial(_make, project), Estimate(0.1, 5), (), stored)


def encoded(tokenizer: Tokenizer, dataset: Path, labels: Path | None) -> Iterator[Ids]:
    """All that the student will read and write, but for the test: with the instruction and without it; `labels` are a
    teacher's answers."""
    task, family = read_task(dataset), family_of(tokenizer)
    for record, answer in _answered(task, dataset, labels):
        for prompt in PROMPTS:
            yield encode_lesson(tokenizer, family, messages_for(task, prompt, record, answer))[0]


def _make(project: Project, work: Work) -> None:
    at_least = project.student.vocabulary
    assert at_least != "all"
    source = source_of_student(project, work)
    tokenizer, rows = Tokenizer(source), int(text_part(read_json(source / "config.json"))["vocab_size"])
    used = {id for ids in encoded(tokenizer, work.inputs["dataset"], work.inputs.get("labels")) for id in ids}
    vocabulary = trim_tokenizer(tokenizer.description(), used, at_least, rows)
    work.measure("vocabulary", "tokens", float(len(vocabulary.kept)), of=rows, used=len(used))
    write_kept(vocabulary, work.out)
    write_tokenizer(vocabulary, source, work.out)


def _answered(task: Task, dataset: Path, labels: Path | None) -> Iterator[tuple[Record, str]]:
    rows = [row for part in ("train", "validation") for row in read_answered(dataset, part, task)]
    yield from rows
    if isinstance(task.grammar, Labels):
        yield from ((rows[0][0], label) for label in task.grammar.values)
    if labels:
        yield from ((record, record.answers[-1].text) for record in read_records(labels / "labels.jsonl"))
