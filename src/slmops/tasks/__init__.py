"""Task types by name: how a row becomes a record, a record messages, and a text an answer. Loads what is asked for.

A task of the user's own is named `module:Class`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from slmops.core.errors import ConfigError, SlmopsError
from slmops.core.named import load_named
from slmops.tasks.types import Json, Metric, Parts, Task

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

    if name in TASKS:
        module, _, attribute = TASKS[name].partition(":")
        return getattr(import_module(module), attribute)
    if ":" not in name:
        near = difflib.get_close_matches(name, TASKS, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"choose one of: {', '.join(TASKS)}"
        raise ConfigError(f"there is no task type {name!r}", where="task", remedy=remedy)
    kind = load_named(name, "task")
    if not (isinstance(kind, type) and issubclass(kind, TaskBase)):
        raise ConfigError(f"{name} is no task", where="task", remedy="derive it from slmops.tasks.base.TaskBase")
    return kind


FURTHER = ("bleu",)  # figures that a task may not have by itself


def metrics_of(task: Task, further: Iterable[str]) -> tuple[Metric, ...]:
    """The task's own figures, and those that are asked for by name."""
    return (*task.metrics, *(further_metric(name, task) for name in further))


def further_metric(name: str, task: Task) -> Metric:
    """One of FURTHER, or a figure by a function of the user's own."""
    if name == "bleu":
        from slmops.tasks.text_metrics import Bleu

        return Bleu(task.write)
    return own_metric(name)


def own_metric(name: str) -> Metric:
    """A figure by a function of the user's own: (answer, gold) → 0 to 1; an invalid answer gets 0."""
    from slmops.tasks.metrics import Mean

    where = "evaluation.metrics"
    score = load_named(name, where)

    def checked(answer: Json, gold: Json) -> float:
        try:
            value = float(score(answer, gold))
        except Exception as error:
            what = f"{name} raised {type(error).__name__}: {error}"
            raise SlmopsError(what, where=where, remedy=f"its answer was {str(answer)[:80]!r}") from error
        if not 0 <= value <= 1:
            raise SlmopsError(f"{name} returned {value}, expected 0 to 1", where=where, remedy="divide by the most")
        return value

    return Mean(name.partition(":")[2], checked)


def read_row(task: Task, parts: Parts) -> tuple[Mapping[str, Json], Json | None]:
    """Inputs and gold of a row, what the user's template names among the inputs."""
    inputs, gold = task.read(parts)
    return {**task.named(parts), **inputs}, gold
