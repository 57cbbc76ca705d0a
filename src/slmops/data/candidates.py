"""Rows that may stand in a clean file: kept on disk as they will be written, then judged together, then written.

In come mended rows in order, out go the clean file's lines and its history. Duplicates are known only when all rows are
in; until then of each some forty bytes are remembered. Knows no format and no path.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from slmops.data.history import History
from slmops.data.mended import MendedRow
from slmops.data.near import NEAR, NearIndex
from slmops.data.texts import first_rows

Keep = Literal["keep", "drop"]

_SHOWN = 5  # places a report names
_SAME, _NEAR, _CONFLICT = 1, 2, 3
_ODD = np.uint64(0x9E3779B97F4A7C15)
_WHY = {_SAME: "the same text again", _NEAR: "nearly the same text again", _CONFLICT: "the same text, another answer"}


@dataclass(frozen=True)
class Cleaning:
    """What is left out. Near duplicates go only where their answers are equal: from the others a model learns most."""

    near_duplicates: Keep = "keep"
    conflicts: Keep = "keep"
    near: float = NEAR
    min_words: int = 1
    max_words: int | None = None


@dataclass(frozen=True)
class Cleaned:
    """Rows read, kept, changed, left out and why, refused; rows whose text has another answer before, and where."""

    rows: int
    kept: int
    mended: int  # of those kept
    dropped: dict[str, int]
    refused: int
    conflicts: int
    conflict_places: tuple[str, ...]


@dataclass(frozen=True)
class _Fates:
    """What becomes of each candidate, and because of which other; which have another answer than the first with their
    text."""

    fate: NDArray[np.int8]
    of: NDArray[np.int64]
    conflicts: list[tuple[int, int]]


class Candidates:
    """Rows read so far. Those that may be kept, the candidates, lie on disk as they will be written."""

    def __init__(self, folder: Path, refused: IO[str], index: NearIndex, files: Sequence[str]) -> None:
        self._folder, self._refused, self._index, self._files = folder, refused, index, files
        self._candidates = (folder / "candidates").open("w+", encoding="utf-8", newline="\n")
        self._notes = (folder / "notes").open("w+", encoding="utf-8", newline="\n")
        self._file_of, self._line_of, self._answer_of = array("H"), array("L"), array("Q")
        self.rows = 0

    def add(self, file: int, row: MendedRow, cleaning: Cleaning) -> None:
        """Takes the next row; most are candidates."""
        self.rows += 1
        note = f"{file}\t{row.line}\t"
        if row.refused:
            where = f"{self._files[file]}:{row.line}"
            told = {"where": where, "reason": str(row.refused), "row": row.row}
            self._refused.write(json.dumps(told, ensure_ascii=True, default=str) + "\n")
            self._notes.write(f"{note}refused\t\n")
        elif why := _unfit(row, cleaning):
            self._notes.write(f"{note}{why}\t\n")
        else:
            self._index.add(row.text)
            self._candidates.write(row.written + "\n")
            self._notes.write(f"{note}\t{json.dumps(row.steps, ensure_ascii=False) if row.steps else ''}\n")
            self._file_of.append(file)
            self._line_of.append(row.line)
            self._answer_of.append(0 if row.answer is None else _digest(row.answer))

    def decide(self, cleaning: Cleaning, on_progress: Callable[[float], None]) -> _Fates:
        """What becomes of the candidates."""
        same_text = self._index.first_rows()
        answers = np.frombuffer(self._answer_of, np.uint64) if self._answer_of else np.empty(0, np.uint64)
        rows = np.arange(len(answers))
        (same_text.astype(np.uint64) * _ODD ^ answers).tofile(self._folder / "both")
        same = first_rows(self._folder / "both", len(rows))
        fate = np.where(same != rows, _SAME, 0).astype(np.int8)
        of = same.copy()
        labelled = np.flatnonzero(answers)
        leader = np.full(len(rows), len(rows))
        np.minimum.at(leader, same_text[labelled], labelled)  # the first row of a text that has an answer
        disagrees = labelled[answers[labelled] != answers[leader[same_text[labelled]]]]
        if cleaning.conflicts == "drop":
            torn = np.zeros(len(rows), np.bool_)
            torn[same_text[disagrees]] = True
            out = labelled[torn[same_text[labelled]]]
            fate[out], of[out] = _CONFLICT, leader[same_text[out]]
        if cleaning.near_duplicates == "drop":
            pairs = [(m.right, m.left) for m in self._index.matches(same_text, cleaning.near, on_progress)]
            for right, left in sorted(pairs):
                if not fate[left] and not fate[right] and answers[left] == answers[right]:
                    fate[right], of[right] = _NEAR, left
        disagrees = disagrees[same[disagrees] == disagrees]
        firsts = leader[same_text[disagrees]]
        return _Fates(fate, of, list(zip(firsts.tolist(), disagrees.tolist(), strict=True)))

    def write(self, fates: _Fates, made: IO[str], history: History) -> Cleaned:
        """Writes what is kept, and the history of all."""
        dropped: Counter[str] = Counter()
        candidate = kept = mended = 0
        self._candidates.seek(0)
        self._notes.seek(0)
        for note in self._notes:
            file, number, why, steps = note.rstrip("\n").split("\t")
            name, line, more = self._files[int(file)], int(number), {}
            if not why:
                written = self._candidates.readline()
                fate = int(fates.fate[candidate])
                if fate:
                    why, more = _WHY[fate], {"of": self._place(int(fates.of[candidate]))}
                candidate += 1
            if why:
                dropped[why] += 1
                history.dropped(name, line, why, **more)
            else:
                kept += 1
                mended += bool(steps)
                made.write(written)
                history.kept(name, line, kept, json.loads(steps) if steps else ())
        history.close()
        refused = dropped.pop("refused", 0)
        places = tuple(f"{self._place(one)} and {self._place(other)}" for one, other in fates.conflicts[:_SHOWN])
        return Cleaned(self.rows, kept, mended, dict(dropped), refused, len(fates.conflicts), places)

    def close(self) -> None:
        self._candidates.close()
        self._notes.close()

    def _place(self, candidate: int) -> str:
        return f"{self._files[self._file_of[candidate]]}:{self._line_of[candidate]}"


def _unfit(row: MendedRow, cleaning: Cleaning) -> str:
    words = len(row.text.split())
    if not words:
        return "blank"
    if words < cleaning.min_words:
        return f"fewer than {cleaning.min_words} words"
    return f"more than {cleaning.max_words} words" if cleaning.max_words and words > cleaning.max_words else ""


def _digest(answer: str) -> int:
    return int.from_bytes(hashlib.blake2b(answer.encode(), digest_size=8).digest(), "little") or 1
