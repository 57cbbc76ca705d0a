"""What a model is really shown: the exact text of rows, token by token, with what of it is learned.

In come a project and how many rows, out go pieces of text with their ids. Makes the dataset if it is not there yet,
and learns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from slmops.core.errors import ConfigError
from slmops.models.families import encode_lesson, family_of
from slmops.models.tokenizer import Tokenizer
from slmops.stages.base_models import base_model
from slmops.stages.before import Progress
from slmops.stages.parts import read_answered, read_task
from slmops.stages.project import Project
from slmops.stages.run import open_store, run
from slmops.tasks.types import messages_for

Part = Literal["train", "validation", "test"]
Learner = Literal["teacher", "student"]


@dataclass(frozen=True)
class Piece:
    """A token: its id, its text, and whether it is learned."""

    id: int
    text: str
    learned: bool


@dataclass(frozen=True)
class Preview:
    """A row as a model is taught it; `place` is where it stands in the user's file."""

    place: str
    tokens: int
    learned: int
    pieces: tuple[Piece, ...]


def preview(
    project: Project,
    *,
    rows: int = 3,
    part: Part = "train",
    learner: Learner = "student",
    progress: Progress = lambda stage, share, note: None,
) -> list[Preview]:
    """The first `rows` of `part`, as `learner` is asked and what it is to answer.

    Raises:
        ConfigError: the project has no such learner.
    """
    if learner == "teacher" and project.local_teacher is None:
        raise ConfigError("there is no teacher", where=str(project.path), remedy="preview the student")
    run(project, until="dataset", progress=progress)
    dataset = open_store(project).open(f"{project.name}/dataset@latest")
    reference = project.local_teacher.model if project.local_teacher else project.student.model
    if learner == "student" and project.student.model:
        reference = project.student.model
    assert reference is not None
    tokenizer = Tokenizer(base_model(project, reference).folder)
    family, task = family_of(tokenizer), read_task(dataset)
    shown = []
    for record, answer in read_answered(dataset, part, task)[:rows]:
        messages = messages_for(task, project.prompt_of(learner), record, answer)
        ids, learn = encode_lesson(tokenizer, family, messages)
        pieces = tuple(Piece(token, tokenizer.show(token), learned) for token, learned in zip(ids, learn, strict=True))
        shown.append(Preview(record.source.place, len(ids), sum(learn), pieces))
    return shown
