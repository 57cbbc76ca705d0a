"""Task types by name: how a row becomes a record, a record messages, and a text an answer. Loads what is asked for.

A task of the user's own is named `module:Class`. Its module is imported, so it must be allowed first, by whoever runs
the user's own project: the name in a model's card alone imports nothing.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from slmops.core.errors import ConfigError
from slmops.tasks.types import Json, Parts, Task

TASKS = {
    "classification": "slmops.tasks.classification:Classification",
    "inference": "slmops.tasks.inference:Inference",
    "extraction": "slmops.tasks.extraction:Extraction",
    "question-answering": "slmops.tasks.question_answering:QuestionAnswering",
    "conversation": "slmops.tasks.conversation:Conversation",
    "mathematics": "slmops.tasks.mathematics:Mathematics",
    "summarization": "slmops.tasks.summarization:Summarization",
    "translation": "slmops.tasks.translation:Translation",
    "code": "slmops.tasks.code:Code",
    "generation": "slmops.tasks.generation:Generation",
}
_allowed: set[str] = set()


def allow_task(name: str) -> None:
    """From now on `name` (`module:Class`) may be loaded: it stands in the user's own project."""
    _allowed.add(name)


def load_task(name: str, **options: Any) -> Task:
    """The task type `name`, made with its `options`.

    Raises:
        ConfigError: there is no such task type, or the options are not its own.
    """
    kind = task_type(name)
    try:
        task: Task = kind(**options)
    except TypeError as error:
        raise ConfigError(f"the task {name}: {error}", where="task", remedy="look at the task's own options") from error
    return task


def task_type(name: str) -> Any:
    """The class of the task type `name`.

    Raises:
        ConfigError: there is none, it may not be imported, or it is no task.
    """
    from slmops.tasks.base import TaskBase

    if ":" in name and name not in _allowed:
        raise ConfigError(
            f"the task {name!r} is code of a project",
            remedy="run this in the folder of the slmops.yaml that names it",
        )
    if ":" not in name and name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"choose one of: {', '.join(TASKS)}"
        raise ConfigError(f"there is no task type {name!r}", where="task", remedy=remedy)
    module, _, function = TASKS.get(name, name).partition(":")
    try:
        kind = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{name}: {error}", where="task", remedy="name module:Class, beside slmops.yaml") from error
    if not (isinstance(kind, type) and issubclass(kind, TaskBase)):
        raise ConfigError(f"{name} is no task", where="task", remedy="derive it from slmops.tasks.base.TaskBase")
    return kind


def code_of(name: str) -> str:
    """What decides how a task of the user's own works: the hash of its file; nothing for one of ours."""
    return hashlib.sha256(Path(inspect.getfile(task_type(name))).read_bytes()).hexdigest() if ":" in name else ""


def read_row(task: Task, parts: Parts) -> tuple[Mapping[str, Json], Json | None]:
    """Inputs and gold of a row, what the user's template names among the inputs."""
    inputs, gold = task.read(parts)
    return {**task.named(parts), **inputs}, gold
