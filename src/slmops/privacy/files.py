"""Masks the rows of a file into another one, and takes the masks back out of it.

In come rows, one at a time, and where they were read; out goes a file of JSON Lines, and beside it, where there is a
key, the encrypted file of what the masks stand for. Both are written whole or not at all. The report names kinds and
places, never a value. Knows no format but JSON Lines, and no command line.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmops.core.errors import DataError
from slmops.core.files import written_whole
from slmops.privacy.find import KINDS
from slmops.privacy.mask import FindNames, mask_value, unmask_value
from slmops.privacy.vault import Entry, Sealed, read_entries
from slmops.tasks.types import Json

Rows = Iterable[tuple[int, Mapping[str, Any] | DataError]]  # with the line where the row begins

_SHOWN = 5  # places named for a kind


@dataclass(frozen=True)
class KindCount:
    """How often a kind was masked, and in which rows for example."""

    kind: str
    count: int
    places: tuple[str, ...]


@dataclass(frozen=True)
class MaskReport:
    """What was written where: `masks` is the encrypted file, None where no key was given."""

    file: str
    out: str
    masks: str | None
    rows: int
    masked_rows: int
    kinds: tuple[KindCount, ...]


def masks_beside(out: Path) -> Path:
    """The encrypted file of a masked one: `train.jsonl` has `train.masks.jsonl`."""
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.masks.jsonl")


def mask_rows(
    rows: Rows,
    source: Path,
    out: Path,
    *,
    kinds: Collection[str] = frozenset(KINDS),
    passphrase: str | None = None,
    find_names: FindNames | None = None,
) -> MaskReport:
    """Writes `rows`, which were read from `source`, to `out` without personal data.

    Raises:
        DataError: a row cannot be read; nothing is written then, since what it holds is unknown.
    """
    sealed = Sealed(passphrase) if passphrase is not None else None
    counts: Counter[str] = Counter()
    places: defaultdict[str, list[str]] = defaultdict(list)
    row = masked_rows = 0
    # the masks appear first: a masked file without them could not be restored
    with written_whole(*([masks_beside(out)] if sealed else ()), out) as streams:
        stream, masks = streams[-1], streams[0]
        if sealed:
            masks.write(sealed.head)
        for row, (line, value) in enumerate(rows, 1):
            where = f"{source}:{line}"
            masked = mask_value(_readable(value), kinds, find_names)
            text = _as_line(masked.value, where)
            stream.write(text)
            if masked.masks:
                masked_rows += 1
                counts += masked.counts
                for kind in masked.counts:
                    if len(places[kind]) < _SHOWN:
                        places[kind].append(where)
                if sealed:
                    masks.write(sealed.line(Entry(row, _digest(masked.value), masked.masks)))
        if sealed:
            masks.write(sealed.end())
    found = tuple(KindCount(kind, count, tuple(places[kind])) for kind, count in counts.most_common())
    return MaskReport(str(source), str(out), str(masks_beside(out)) if sealed else None, row, masked_rows, found)


def unmask_rows(rows: Rows, source: Path, masks: Path, out: Path, passphrase: str) -> int:
    """Writes `rows` with their masks taken out to `out`: exactly what was masked. Returns how many rows there are.

    Raises:
        DataError: a row is not the one that was masked, so that it would get another one's data.
        WrongKeyError: `passphrase` does not open `masks`.
    """
    entries = read_entries(masks, passphrase)
    row, waiting = 0, next(entries, None)
    with written_whole(out) as (stream,):
        for row, (line, value) in enumerate(rows, 1):
            where, readable = f"{source}:{line}", _readable(value)
            if waiting is not None and waiting.row == row:
                if waiting.digest != _digest(readable):
                    raise _other_row(where, masks)
                readable, waiting = unmask_value(readable, waiting.masks), next(entries, None)
            stream.write(_as_line(readable, where))
        if waiting is not None:
            raise _other_row(f"{source}:{row + 1}", masks)
    return row


def _other_row(where: str, masks: Path) -> DataError:
    return DataError(
        f"is not the row that {masks.name} belongs to",
        where=where,
        remedy="give the file as it was masked, with all rows in their order",
    )


def _readable(value: Mapping[str, Any] | DataError) -> Json:
    if isinstance(value, DataError):
        raise value
    return dict(value)


def _as_line(value: Json, where: str) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise DataError(f"found no JSON ({error})", where=where, remedy="leave out numbers that are none") from error
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write only escaped
        text = json.dumps(value)
    return text + "\n"


def _digest(value: Json) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
