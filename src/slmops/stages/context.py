"""That the models can be asked every message of the test, and can write every label: told before anything is learned.

In come a project and its dataset; of the models, tokenizer and config.json are read. Loads no weights.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from slmops.core.errors import DataError
from slmops.models.families import encode_prompt, family_of
from slmops.models.folder import context_of
from slmops.models.tokenizer import Tokenizer
from slmops.stages.base_models import folder_of
from slmops.stages.parts import read_part, read_task
from slmops.stages.project import Project
from slmops.tasks.types import Labels, Prompt, Record, Task, messages_for

_FRAME_TOKENS = 64  # of a conversation, more than any family writes around its turns
_SHOWN = 3


def check_test_fits(project: Project, dataset: Path) -> None:
    """That models have room for each message with its answer.

    Raises:
        DataError: one has not; says of which rows.
    """
    task, test = read_task(dataset), read_part(dataset, "test")
    for role, reference, prompt, most in _asked(project):
        folder = folder_of(project, reference)
        if folder is None:
            continue
        context = min(context_of(folder), most)
        if longer := [record.source.place for record in _longer(task, test, folder, prompt, context)]:
            more = f" and {len(longer) - _SHOWN} more" if len(longer) > _SHOWN else ""
            raise DataError(
                f"with its answer it does not fit the {role}'s context of {context:,} tokens",
                where=", ".join(longer[:_SHOWN]) + more,
                remedy="shorten it, or leave it out of data.test: no model could answer it",
            )


def check_labels_are_spelled(project: Project, dataset: Path) -> None:
    """That models can write each label as it is, since an answer is compared with it letter by letter.

    Raises:
        DataError: a tokenizer changes one (it composes letters, say).
    """
    grammar = read_task(dataset).grammar
    for role, reference, _, _ in _asked(project):
        folder = folder_of(project, reference)
        if folder is None or not isinstance(grammar, Labels):
            continue
        tokenizer = Tokenizer(folder)
        for label in grammar.values:
            written = tokenizer.decode(tokenizer.encode(label)).strip()
            if written != label.strip():
                what = f"the {role}'s tokenizer writes the label {label!r} ({label!a}) as {written!a}"
                remedy = "name it so in the rows and in task.labels (letters with accents composed: Unicode's NFC)"
                raise DataError(what, where=project.path.name, remedy=remedy)


def _asked(project: Project) -> Iterator[tuple[str, str, Prompt, int]]:
    """(role, reference, prompt, most tokens) of the base models whose descendants are compared."""
    if project.local_teacher and {"teacher", "teacher_int4"} & set(project.subjects()):
        yield "teacher", project.local_teacher.model, project.prompt_of("teacher"), sys.maxsize
    yield "student", project.student_origin, project.student.prompt, project.student.context or sys.maxsize


def _longer(task: Task, records: list[Record], folder: Path, prompt: Prompt, context: int) -> Iterator[Record]:
    tokenizer = Tokenizer(folder)
    family = family_of(tokenizer)
    labels = task.grammar.values if isinstance(task.grammar, Labels) else ()
    room = context - 1 - max((len(tokenizer.encode(label)) for label in labels), default=0)
    for record in records:
        messages = messages_for(task, prompt, record)
        size_bytes = sum(len(message.content.encode()) for message in messages)
        if size_bytes + _FRAME_TOKENS > room and len(encode_prompt(tokenizer, family, messages)) > room:
            yield record  # no text has more tokens than bytes: most are short without being encoded
