"""Adds copies of rows to a training file, with noise or in other words: of every row, or of those whose label is rare.

In comes a path that nobody has checked, out go OUT.jsonl, in which the rows stand as they were and the copies behind
them, and its history, which tells of each copy what it was made from and how. The same rows and seed give the same
bytes. For training only: a model that is measured on copies is measured on what it has learned. Of each row a few dozen
bytes are remembered. Knows no task.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from slmops.core.errors import DataError
from slmops.core.files import written_whole
from slmops.data.divide import refuse_unusable
from slmops.data.formats import kind, refuse
from slmops.data.grams import normalise
from slmops.data.history import History, path_of, shortened
from slmops.data.layouts import Recognised
from slmops.data.mended import as_json
from slmops.data.noise import KINDS, Kind, add_noise
from slmops.data.outputs import named_from, refuse_overwriting
from slmops.data.paraphrase import Ask, LabelKeeper, reworded
from slmops.data.scan import Row, Scan
from slmops.tasks.types import Json, Record, Source

_Copy = tuple[Row, str, Json]  # the row, its copy as JSON, and how it was made

_AT_ONCE = 64  # texts said in other words
_TOLD = 10_000  # rows between two words of progress; what a model writes is told row by row
_TRIES = 4  # for a copy that is like no other
_MOST = 20  # copies of one row of a rare label
_VARIED = ("question", "hypothesis", "text", "document", "instruction", "prompt", "source", "input", "messages")
_SAID, _USERS = ("content", "value"), ("user", "human", "customer")


@dataclass(frozen=True)
class Enlarging:
    """Which kinds of noise (no matter where copies are in other words); how many copies of each row; how many rows each
    label is to have at least."""

    kinds: tuple[Kind, ...] = KINDS
    copies: int = 1
    fill_rare: int = 0


@dataclass(frozen=True)
class Enlarged:
    """Rows read; copies made, by how; copies left out: because `apart_from` has their text, because they were no other
    text, because their label was not kept; labels that have fewer rows than asked even so."""

    rows: int
    made: dict[str, int]
    left_out: dict[str, int]
    still_rare: dict[str, int]


def augment_file(
    path: Path,
    out: Path,
    enlarging: Enlarging,
    seed: int,
    *,
    apart_from: Sequence[Path] = (),
    ask: Ask | None = None,
    fields: Mapping[str, str] | None = None,
    max_row_bytes: int = 1_000_000,
    on_progress: Callable[[str, float, str], None] = lambda stage, share, note: None,
) -> Enlarged:
    """Writes `out` and its history; no copy has the text of a row in `apart_from` (but for case and punctuation).

    With `ask`, which lets a model answer, copies are in other words, and keep their label (see `paraphrase`).

    Raises:
        DataError: a file cannot be read or would be written over, its answers point into its texts, or its labels
            cannot be checked.
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
        check = _Check(*_varied(scan.layout, path), seen, apart)
        if ask is None:
            made = _noisy(_wanted(scan, enlarging, labels), check, enlarging.kinds, seed)
        else:
            keeper = _keeper(scan) if scan.labelled else None
            made = _in_other_words(_wanted(scan, enlarging, labels), check, ask, keeper)
        to = count
        for row, copy, step in made:
            to += 1
            labels[row.answer or ""] += scan.labelled and row.answer is not None
            rows.write(copy + "\n")
            history.kept(name, row.line, to, [step])
            if ask or to % _TOLD == 0:
                on_progress("copy", 0.5, f"{to - count:,} copies")
        history.close()
    rare = {label: rows for label, rows in labels.items() if label and rows < enlarging.fill_rare}
    return Enlarged(count, dict(check.made), dict(check.left_out), rare)


class _Check:
    """Lets a copy through if no row and no copy before is like it."""

    def __init__(self, layout: Recognised, column: str, seen: set[bytes], apart: set[bytes]) -> None:
        self._layout, self.column, self._seen, self._apart = layout, column, seen, apart
        self.made, self.left_out = Counter[str](), Counter[str]()

    def said(self, row: Row, after: Json) -> str:
        """All that the copy asks: a premise, too, beside a hypothesis in other words."""
        return self._layout.said(self._layout.parts({**row.raw, self.column: after}, f"line {row.line}"))

    def written(self, row: Row, after: Json, how: str) -> tuple[str, Json] | None:
        """The copy as JSON, and how it was made; None where there is one already, or none may be."""
        before = row.raw[self.column]
        written = as_json({**row.raw, self.column: after}, self.column)
        digest = _digest(written)
        if digest in self._seen:
            return None
        self._seen.add(digest)
        if _digest(normalise(self.said(row, after))) in self._apart:
            self.left_out["like a row of --apart-from"] += 1
            return None
        self.made[how] += 1
        shown = {"before": shortened(_text(before)), "after": shortened(_text(after))}
        return written, {"did": f"copied {how}", "column": self.column, **shown}


def _noisy(wanted: Iterable[tuple[Row, int]], check: _Check, kinds: Sequence[Kind], seed: int) -> Iterator[_Copy]:
    for row, copies in wanted:
        for number in range(copies):
            generator = random.Random(f"{seed}:{number}:{row.text}")
            for _ in range(_TRIES):
                kind = generator.choice(kinds)
                after = _with_noise(row.raw[check.column], kind, generator)
                if made := check.written(row, after, f"with noise: {kind}"):
                    yield row, *made
                    break


def _in_other_words(
    wanted: Iterable[tuple[Row, int]], check: _Check, ask: Ask, keeper: LabelKeeper | None
) -> Iterator[_Copy]:
    singles = (row for row, copies in wanted for _ in range(copies))
    while chunk := list(islice(singles, _AT_ONCE)):
        texts = [_single_text(row, check.column) for row in chunk]
        found = [(row, new) for row, new in zip(chunk, reworded(texts, ask), strict=True) if new is not None]
        check.left_out["no other text, or other numbers"] += len(chunk) - len(found)
        said, labels = [check.said(row, new) for row, new in found], [row.answer or "" for row, _ in found]
        kept = keeper.keeps(said, labels) if keeper else [True] * len(found)
        check.left_out["another label, as it seems"] += kept.count(False)
        for (row, new), is_kept in zip(found, kept, strict=True):
            if not is_kept:
                continue
            if made := check.written(row, new, "in other words"):
                yield row, *made
            else:
                check.left_out["there already"] += 1


def _single_text(row: Row, column: str) -> str:
    value = row.raw[column]
    if not isinstance(value, str):
        refuse(f"line {row.line} · {column}", kind(value), "a text to say in other words", "add copies with --noise")
    return value


def _keeper(scan: Scan) -> LabelKeeper:
    known = [(row.text, row.answer) for row in scan.rows() if row.answer is not None]
    return LabelKeeper([text for text, _ in known], [label for _, label in known], str(scan.path))


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


def _varied(layout: Recognised | None, path: Path) -> tuple[Recognised, str]:
    """The layout, and the column that copies differ in."""
    if layout is None:
        raise DataError("the file has no rows", where=str(path), remedy="name a file with rows")
    if "entities" in layout.columns:
        raise DataError(
            "the answers are words of the texts, which noise would change",
            where=str(path),
            remedy="add real rows, or a teacher's",
        )
    return layout, next(layout.columns[part] for part in _VARIED if part in layout.columns)


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
