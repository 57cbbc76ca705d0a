"""Divides rows into train and what is held out: stratum by stratum, by hash, twins together.

In come records, or what is known of rows as numbers; out goes the side of each. Similar texts, and those that share a
group, never stand on two sides. A row's place depends on its id and the seed, so new rows move few of the old. Knows no
task and no file.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import DataError
from slmops.data.near import similar_rows
from slmops.tasks.types import Record


class TooFew(Exception):
    """A stratum has fewer clusters than there are sides."""

    def __init__(self, stratum: int, clusters: int, sides: int) -> None:
        super().__init__(stratum, clusters, sides)
        self.stratum, self.clusters, self.sides = stratum, clusters, sides


def split(
    records: Sequence[Record],
    validation: float,
    seed: int,
    stratum: Callable[[Record], str] = lambda record: str(record.gold),
) -> tuple[list[Record], list[Record]]:
    """(train, validation), with the share `validation` (0 … 1) of each stratum's rows and at least one in each.

    Raises:
        DataError: a stratum has too few different texts to stand on both sides.
    """
    names = list(dict.fromkeys(map(stratum, records)))
    number = {name: place for place, name in enumerate(names)}
    clusters = Clusters(len(records))
    for match in similar_rows(record.text for record in records):
        clusters.join(match.left, match.right)
    first_of: dict[str, int] = {}
    for row, record in enumerate(records):
        if record.group is not None:
            clusters.join(first_of.setdefault(record.group, row), row)
    strata = np.array([number[stratum(record)] for record in records], np.int64)
    places = np.array([place_of(record.id, seed) for record in records], np.uint64)
    try:
        sides = sides_of(strata, clusters.leaders(), places, (validation,))
    except TooFew as error:
        first = records[int(np.argmax(strata == error.stratum))]
        raise too_few(names[error.stratum], first.source.place, error) from error
    train = [record for record, side in zip(records, sides.tolist(), strict=True) if side == 0]
    return train, [record for record, side in zip(records, sides.tolist(), strict=True) if side == 1]


def sides_of(
    strata: NDArray[np.int64], leaders: NDArray[np.int64], places: NDArray[np.uint64], shares: Sequence[float]
) -> NDArray[np.int8]:
    """The side of each row: 0 stays, 1 … are held out, with that share of each stratum's rows and one cluster at least.

    Rows with one leader are a cluster: they go together, with the leader's stratum, by the least of their places.

    Raises:
        TooFew: a stratum has fewer clusters than there are sides.
    """
    heads, cluster_of = np.unique(leaders, return_inverse=True)
    sizes = np.bincount(cluster_of, minlength=len(heads))
    place = np.full(len(heads), np.iinfo(np.uint64).max)
    np.minimum.at(place, cluster_of, places)
    of_stratum = strata[heads]
    order = np.lexsort((place, of_stratum))
    count = int(strata.max(initial=-1)) + 1
    bounds = np.searchsorted(of_stratum[order], np.arange(count + 1))
    side = np.zeros(len(heads), np.int8)
    for stratum in range(count):
        ordered = order[bounds[stratum] : bounds[stratum + 1]]
        if len(ordered) <= len(shares):
            raise TooFew(stratum, len(ordered), len(shares) + 1)
        rows = int(sizes[ordered].sum())
        for number, share in enumerate(shares, 1):
            taken = _take(sizes[ordered], share * rows, keep=len(shares) - number + 1)
            side[ordered[taken]] = number
            ordered = np.delete(ordered, taken)
    return side[cluster_of]


class Clusters:
    """Rows in clusters: those that were joined, directly or through others."""

    def __init__(self, rows: int) -> None:
        self._leader = array("q", range(rows))

    def join(self, one: int, other: int) -> None:
        """Puts the clusters of two rows together."""
        a, b = self._find(one), self._find(other)
        self._leader[max(a, b)] = min(a, b)

    def leaders(self) -> NDArray[np.int64]:
        """For each row the first of its cluster."""
        return np.fromiter(map(self._find, range(len(self._leader))), np.int64, len(self._leader))

    def _find(self, row: int) -> int:
        leader = self._leader
        while leader[row] != row:
            leader[row] = row = leader[leader[row]]
        return row


def place_of(id: str, seed: int) -> int:
    """Where a row stands in the order in which rows are held out."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{id}".encode()).digest()[:8], "big")


def too_few(stratum: str, where: str, error: TooFew) -> DataError:
    """What to say of it; a `stratum` without a name is all rows."""
    found = f"{error.clusters} messages that are not alike" if error.clusters > 1 else "one message, or only some alike"
    who, whose = (f"the label {stratum!r}", " with this label, or remove it") if stratum else ("the file", "")
    return DataError(
        f"{who} has {found}; expected {error.sides} or more, one for each side",
        where=where,
        remedy=f"add different messages{whose}",
    )


def _take(sizes: NDArray[np.int64], rows: float, keep: int) -> list[int]:
    """Which clusters from the front fit into so many rows; one at least, and `keep` are left over."""
    room = max(1, round(rows))
    taken: list[int] = []
    for cluster, size in enumerate(sizes):
        if room == 0 or len(taken) == len(sizes) - keep:
            break
        if size <= room:
            taken.append(cluster)
            room -= int(size)
    return taken or [int(np.argmin(sizes))]
