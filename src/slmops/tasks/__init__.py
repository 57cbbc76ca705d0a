"""Task types by name: how a record becomes messages, and a text an answer. Loads only the one that is asked for."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any

from slmops.core.errors import ConfigError
from slmops.tasks.types import Task

TASKS = {"classification": "slmops.tasks.classification:Classification"}


def load_task(name: str, **options: Any) -> Task:
    """The task type `name`, made with its `options`.

    Raises:
        ConfigError: there is no such task type.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"choose one of: {', '.join(TASKS)}"
        raise ConfigError(f"there is no task type {name!r}", remedy=remedy)
    module, _, function = TASKS[name].partition(":")
    task: Task = getattr(import_module(module), function)(**options)
    return task
