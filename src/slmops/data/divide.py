"""Divides a file into train, validation and test, so that none of them knows the others.

In comes a path that nobody has checked, out go a file for each side and its history. Rows that are near, and rows of
one group, stay together; labels keep their shares; the same rows and seed give the same bytes, and added rows move few
of the old. Rows go through disk, not memory: of each some forty bytes are remembered. Knows no task.
"""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from slmops.core.errors import DataError
from slmops.core.files import written_whole
from slmops.data.history import History, path_of
from slmops.data.mended import as_json
from slmops.data.near import NEAR, NearIndex
from slmops.data.outputs import named_from, refuse_overwriting
from slmops.data.scan import Row, Scan
from slmops.data.split import Clusters, TooFew, place_of, sides_of, too_few

OnProgress = Callable[[str, float, str], None]

_TOLD = 10_000  # rows between two words of progress


@dataclass(frozen=True)
class Divided:
    """How many rows stand on each side, and how many are there with others that are like them or of their group."""

    rows: dict[str, int]
    together: int


def split_file(
    path: Path,
    folder: Path,
    shares: Mapping[str, float],
    seed: int,
    *,
    group: str = "group",
    near: float = NEAR,
    fields: Mapping[str, str] | None = None,
    max_row_bytes: int = 1_000_000,
    on_progress: OnProgress = lambda stage, share, note: None,
) -> Divided:
    """Writes `train.jsonl` and a file for each of `shares` (its name: its share of the rows, above 0) into `folder`.

    Raises:
        DataError: a row cannot be used, a label has too few different rows, or the file would be written over.
    """
    names = ("train", *shares)
    files = [folder / f"{name}.jsonl" for name in names]
    histories = [path_of(file) for file in files]
    refuse_overwriting((path,), (*files, *histories))
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        spool = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix=".slmops-split-", dir=folder)))
        rows = opened.enter_context((spool / "rows").open("w+", encoding="utf-8", newline="\n"))
        index = opened.enter_context(NearIndex(folder))
        streams = opened.enter_context(written_whole(*files, *histories))
        scan = Scan(path, fields or {}, max_row_bytes)
        known = _Known(seed, group)
        for row in scan.rows(refuse_unusable):
            rows.write(as_json(row.raw, f"{path}:{row.line}") + "\n")
            index.add(row.text)
            known.add(row, scan.labelled)
            if len(known.lines) % _TOLD == 0:
                on_progress("read", 0.0, f"{len(known.lines):,} rows")
        clusters = known.clusters(index, near, lambda share: on_progress("compare", share, ""))
        leaders = clusters.leaders()
        strata, places = np.array(known.strata, np.int64), np.array(known.places, np.uint64)
        try:
            sides = sides_of(strata, leaders, places, tuple(shares.values()))
        except TooFew as error:
            first = int(np.argmax(strata == error.stratum))
            raise too_few(list(known.labels)[error.stratum], scan.place(known.lines[first]), error) from error
        rows.seek(0)
        counts = _write(rows, sides.tolist(), known.lines, streams, named_from(folder, path))
    on_progress("write", 1.0, f"{len(known.lines):,} rows")
    together = int((np.bincount(leaders, minlength=1)[leaders] > 1).sum())
    return Divided(dict(zip(names, counts, strict=True)), together)


class _Known:
    """What is remembered of each row: its line, label and group as numbers, and its place in the seed's order."""

    def __init__(self, seed: int, group: str) -> None:
        self._seed, self._group = seed, group
        self.labels: dict[str, int] = {}
        self.lines, self.strata, self.places, self._groups = array("L"), array("l"), array("Q"), array("Q")

    def add(self, row: Row, labelled: bool) -> None:
        self.lines.append(row.line)
        self.strata.append(self.labels.setdefault(str(row.answer) if labelled else "any answer", len(self.labels)))
        self.places.append(place_of(hashlib.sha256(row.text.encode()).hexdigest()[:16], self._seed))
        group = row.raw.get(self._group)
        self._groups.append(0 if group is None else place_of(str(group), 0) or 1)

    def clusters(self, index: NearIndex, near: float, on_progress: Callable[[float], None]) -> Clusters:
        """Rows that belong together."""
        clusters = Clusters(len(self.lines))
        same = index.first_rows()
        for row in np.flatnonzero(same != np.arange(len(same))).tolist():
            clusters.join(int(same[row]), row)
        groups = np.array(self._groups, np.uint64)
        _, first, which = np.unique(groups, return_index=True, return_inverse=True)
        for row in np.flatnonzero(groups).tolist():
            clusters.join(int(first[which[row]]), row)
        for match in index.matches(same, near, on_progress):
            clusters.join(match.left, match.right)
        return clusters


def _write(rows: IO[str], sides: list[int], lines: array[int], streams: Sequence[IO[str]], name: str) -> list[int]:
    count = len(streams) // 2
    histories = [History(stream) for stream in streams[count:]]
    counts = [0] * count
    for row, side, line in zip(rows, sides, lines, strict=True):
        streams[side].write(row)
        counts[side] += 1
        histories[side].kept(name, line, counts[side])
    for history in histories:
        history.close()
    return counts


def refuse_unusable(line: int, error: DataError, blank: bool) -> None:
    """Stops at a row that cannot be used, for who must not lose any."""
    raise DataError(error.what, where=error.where, remedy=f"{error.remedy}; slmops data clean leaves such rows out")
