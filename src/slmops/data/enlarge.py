"""Adds noisy copies of rows to a training file: of every row, or of those whose label is rare.

In comes a path that nobody has checked, out go OUT.jsonl, in which the rows stand as they were and the copies behind
them, and its history, which tells of each copy what it was made from and how. The same rows and seed give the same
bytes. For training only: a model that is measured on copies is measured on what it has learned. Of each row a few dozen
bytes are remembered. Knows no task.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slmops.core.errors import DataError
from slmops.core.files import written_whole
from slmops.data.divide import refuse_unusable
from slmops.data.grams import normalise
from slmops.data.history import History, path_of, shortened
from slmops.data.layouts import Recognised
from slmops.data.mended import as_json
from slmops.data.noise import KINDS, Kind, add_noise
from slmops.data.outputs import named_from, refuse_overwriting
from slmops.data.scan import Row, Scan
from slmops.tasks.types import Json, Record, Source

_TRIES = 4  # for a copy that is like no other
_MOST = 20  # copies of one row of a rare label
_VARIED = ("question", "hypothesis", "text", "document", "instruction", "prompt", "source", "input", "messages")
_SAID, _USERS = ("content", "value"), ("user", "human", "customer")


@dataclass(frozen=True)
class Enlarging:
    """Which kinds of noise; how many copies of each row; how many rows each label is to have at least."""

    kinds: tuple[Kind, ...] = KINDS
    copies: int = 1
    fill_rare: int = 0


@dataclass(frozen=True)
class Enlarged:
    """Rows read; copies made, by the kind of noise; copies left out because `apart_from` has their text; labels that
    have fewer rows than asked even so."""

    rows: int
    made: dict[str, int]
    kept_apart: int
    still_rare: dict[str, int]


def augment_file(
    path: Path,
    out: Path,
    enlarging: Enlarging,
    seed: int,
    *,
    apart_from: Sequence[Path] = (),
    fields: Mapping[str, str] | None = None,
    max_row_bytes: int = 1_000_000,
    on_progress: Callable[[str, float, str], None] = lambda stage, share, note: None,
) -> Enlarged:
    """Writes `out` and its history; no copy has the text of a row in `apart_from` (but for case and punctuation).

    Raises:
        DataError: a file cannot be read or would be written over, or its answers point into its texts.
    """
    refuse_overwriting((path, *apart_from), (out, path_of(out)))
    apart = {
        _digest(normalise(row.text))
        for other in apart_from
        for row in Scan(other, fields or {}, max_row_bytes).rows(refuse_unusable)
    }
    scan, name = Scan(path, fields or {}, max_row_bytes), named_from(out.parent, path)
    labels: Counter[str] = Counter()
    seen: set[bytes] = set()
    count = 0
    with written_whole(out, path_of(out)) as (rows, told):
        history = History(told)
        for row in scan.rows(refuse_unusable):
            count += 1
            written = as_json(row.raw, f"{path}:{row.line}")
            labels[row.answer or ""] += scan.labelled and row.answer is not None
            seen.add(_digest(written))
            rows.write(written + "\n")
            history.kept(name, row.line, count)
        on_progress("copy", 0.0, f"of {count:,} rows")
        noisy = _Noisy(_varied_column(scan.layout, path), enlarging, seed, seen, apart)
        to = count
        for row, wanted in _wanted(scan, enlarging, labels):
            for copy, step in noisy.copies(row, wanted):
                to += 1
                labels[row.answer or ""] += scan.labelled and row.answer is not None
                rows.write(copy + "\n")
                history.kept(name, row.line, to, [step])
        history.close()
    rare = {label: rows for label, rows in labels.items() if label and rows < enlarging.fill_rare}
    return Enlarged(count, dict(noisy.made), noisy.kept_apart, rare)


class _Noisy:
    """Makes copies that are like no row and no copy before."""

    def __init__(self, column: str, enlarging: Enlarging, seed: int, seen: set[bytes], apart: set[bytes]) -> None:
        self._column, self._kinds, self._seed, self._seen, self._apart = column, enlarging.kinds, seed, seen, apart
        self.made: Counter[str] = Counter()
        self.kept_apart = 0

    def copies(self, row: Row, wanted: int) -> Iterator[tuple[str, Json]]:
        """Up to `wanted` copies of `row` as JSON, and how each was made."""
        for number in range(wanted):
            generator = random.Random(f"{self._seed}:{number}:{row.text}")
            for _ in range(_TRIES):
                kind = generator.choice(self._kinds)
                before = row.raw[self._column]
                after = _with_noise(before, kind, generator)
                written = as_json({**row.raw, self._column: after}, self._column)
                digest = _digest(written)
                if digest in self._seen:
                    continue
                self._seen.add(digest)
                if _digest(normalise(_text(after))) in self._apart:
                    self.kept_apart += 1
                    continue
                self.made[kind] += 1
                shown = {"before": shortened(_text(before)), "after": shortened(_text(after))}
                yield written, {"did": f"copied with noise: {kind}", "column": self._column, **shown}
                break


def _wanted(scan: Scan, enlarging: Enlarging, labels: Mapping[str, int]) -> Iterator[tuple[Row, int]]:
    """Each row and how many copies of it are wanted; what a rare label lacks is shared out among its rows."""
    rows_of, place = dict(labels), Counter[str]()
    for row in scan.rows(refuse_unusable):
        wanted = enlarging.copies
        label = row.answer or ""
        lacking = enlarging.fill_rare - rows_of.get(label, 0)
        if scan.labelled and label and lacking > 0:
            share, more = divmod(lacking, rows_of[label])
            wanted = max(wanted, min(_MOST, share + (place[label] < more)))
            place[label] += 1
        yield row, wanted


def _varied_column(layout: Recognised | None, path: Path) -> str:
    if layout is None:
        raise DataError("the file has no rows", where=str(path), remedy="name a file with rows")
    if "entities" in layout.columns:
        raise DataError(
            "the answers are words of the texts, which noise would change",
            where=str(path),
            remedy="add real rows, or a teacher's",
        )
    return next(layout.columns[part] for part in _VARIED if part in layout.columns)


def _with_noise(value: Json, kind: Kind, generator: random.Random) -> Json:
    """A text with noise; of a conversation, what its user says."""
    if isinstance(value, str):
        return add_noise(value, kind, generator)
    return [
        {name: add_noise(said, kind, generator) if name in _SAID else said for name, said in turn.items()}
        if turn.get("role", turn.get("from")) in _USERS
        else turn
        for turn in value
    ]


def _text(value: Json) -> str:
    return Record("", {"text": value}, None, Source("")).text


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
