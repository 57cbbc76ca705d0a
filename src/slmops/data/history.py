"""What became of each row of a file that slmops made: beside `FILE.jsonl` stands `FILE.history.jsonl`.

In come a maker's words about its rows in order, out go lines: of a row that was changed or left out one line, of rows
that follow one another unchanged one for all, so that any row's origin can be read. Knows no step by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from slmops.core.errors import DataError
from slmops.tasks.types import Json

_SHOWN = 2000  # characters of a text, before and after


@dataclass(frozen=True)
class Event:
    """A row's way from one file to the next: where it stood, where it is now (None: left out), what was done to it."""

    came_from: str
    to: str | None
    steps: tuple[Json, ...] = ()


class History:
    """Writes lines to a stream; `close` writes the last."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._file, self._from, self._to, self._rows = "", 0, 0, 0

    def kept(self, file: str, line: int, to: int, steps: Sequence[Json] = ()) -> None:
        """The row in `line` of `file` stands in line `to` now, after `steps`."""
        if not steps and (file, line, to) == (self._file, self._from + self._rows, self._to + self._rows):
            self._rows += 1
            return
        self.close()
        if steps:
            self._write({"from": f"{file}:{line}", "to": to, "steps": list(steps)})
        else:
            self._file, self._from, self._to, self._rows = file, line, to, 1

    def dropped(self, file: str, line: int, why: str, **more: Json) -> None:
        """The row in `line` of `file` was left out."""
        self.close()
        self._write({"from": f"{file}:{line}", "to": None, "dropped": why, **more})

    def close(self) -> None:
        """Writes what is held back."""
        if self._rows:
            rows = {"rows": self._rows} if self._rows > 1 else {}
            self._write({"from": f"{self._file}:{self._from}", "to": self._to, **rows})
        self._file, self._rows = "", 0

    def _write(self, line: dict[str, Any]) -> None:
        self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def path_of(made: Path) -> Path:
    """Where the history of `made` is."""
    return made.with_name(made.name.removesuffix(".jsonl") + ".history.jsonl")


def shortened(text: str) -> str:
    """A text as a history shows it."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def read_history(made: Path, line: int) -> list[Event]:
    """How the row in `line` of `made` came about, the latest first, as far back as histories stand beside the files.

    Raises:
        DataError: there is no history, or it does not know the line.
    """
    events: list[Event] = []
    made = made.resolve()
    seen: set[Path] = set()  # files written over one another can name each other
    while path_of(made).is_file() and made not in seen:
        seen.add(made)
        event = next(_events(made, line), None)
        if event is None:
            break
        events.append(event)
        name, _, number = event.came_from.rpartition(":")
        made, line = (made.parent / name).resolve(), int(number)
    if not events:
        raise DataError("no history tells of it", where=f"{made}:{line}", remedy=f"look for {path_of(made).name}")
    return events


def _events(made: Path, line: int) -> Iterator[Event]:
    with path_of(made).open(encoding="utf-8") as stream:
        for text in stream:
            told = json.loads(text)
            past = line - (told["to"] or line + 1)
            if 0 <= past < told.get("rows", 1):
                name, _, number = told["from"].rpartition(":")
                yield Event(f"{name}:{int(number) + past}", f"{made.name}:{line}", tuple(told.get("steps", ())))
