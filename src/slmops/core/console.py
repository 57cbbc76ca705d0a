"""Prints for people and for programs: tables, progress, JSON. Both come from the same value."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # by which a text would command the terminal


def visible(text: str) -> str:
    """The text with what is no character spelled out."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class _Console(Console):
    """Prints texts that anybody may have written."""

    def print(self, *objects: Any, **how: Any) -> None:
        super().print(*(visible(one) if isinstance(one, str) else one for one in objects), **how)


console = _Console(highlight=False, markup=False)  # texts may hold what looks like markup: [train], [/b]
errors = _Console(stderr=True, highlight=False, markup=False)

_WARNING = "warning: "  # a note with it gets a line of its own: the next note would cover it


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    text = json.dumps(to_plain(value), ensure_ascii=False, indent=2)
    sys.stdout.write(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def print_wrong(lines: Iterable[object]) -> None:
    """What is wrong with what was made, a line each."""
    for line in lines:
        console.print(str(line), style="yellow", soft_wrap=True)


def to_plain(value: Any) -> Any:
    """Dataclasses, models, paths and tuples as what JSON knows; a number that is none becomes null."""
    if hasattr(value, "to_json"):
        return to_plain(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    return str(value) if isinstance(value, Path) else value


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """A plain table."""
    table = Table(*head, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(visible(str(cell)) for cell in row))
    console.print(table)


@contextmanager
def show_progress() -> Iterator[Any]:
    """A function (stage, share, note) that shows what is being made; lines instead of a bar where nobody watches."""
    if not console.is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:12}", markup=False),
        BarColumn(30),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=errors, transient=False) as progress:
        tasks: dict[str, Any] = {}

        def show(stage: str, share: float, note: str) -> None:
            if _WARNING in note:
                progress.console.print(f"{stage}: {note}")
                return
            note = visible(note)
            if stage not in tasks:
                for other in tasks.values():
                    progress.update(other, completed=1.0, note="")
                    progress.stop_task(other)
                tasks[stage] = progress.add_task(stage, total=1.0, note=note)
            progress.update(tasks[stage], completed=share, note=note)

        yield show
        for task in tasks.values():
            progress.update(task, completed=1.0, note="")


class _Lines:
    """Says a line when a stage begins, every fifth of it, and for a warning."""

    def __init__(self) -> None:
        self._said: dict[str, int] = {}

    def __call__(self, stage: str, share: float, note: str) -> None:
        if _WARNING in note:
            errors.print(f"{stage:12} {note}")
            return
        fifth = int(share * 5)
        if self._said.get(stage) != fifth:
            self._said[stage] = fifth
            errors.print(f"{stage:12} {share:4.0%}  {note}")
