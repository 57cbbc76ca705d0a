"""Divides records into train and validation: label by label, by hash, twins together.

In come records, out go two lists of them in their old order. Similar texts never stand on both sides. A record's place
depends on its id and the seed, so new rows move few of the old. Knows no task and no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from slmops.core.errors import DataError
from slmops.data.check import similar_within
from slmops.tasks.types import Record


def split(records: Sequence[Record], validation: float, seed: int) -> tuple[list[Record], list[Record]]:
    """(train, validation), with the share `validation` (0 … 1) of each label's rows and at least one in each.

    Raises:
        DataError: a label has too few different texts to stand on both sides.
    """
    chosen: set[str] = set()
    by_label = _by_label(_twins(records))
    for label, first in {str(record.gold): record for record in reversed(records)}.items():
        groups = by_label.get(label, [])
        if len(groups) < 2:
            raise DataError(
                f"the label {label!r} has one message, or only some that are alike; expected two or more",
                where=first.source.place,
                remedy="add different messages with this label, or remove it",
            )
        ordered = sorted(groups, key=lambda group: _place(group, seed))
        chosen |= {record.id for group in _take(ordered, validation) for record in group}
    train = [record for record in records if record.id not in chosen]
    return train, [record for record in records if record.id in chosen]


def _take(ordered: list[list[Record]], share: float) -> list[list[Record]]:
    """Groups from the front that fit into `share` of the rows; one at least, and never all."""
    room = max(1, round(share * sum(map(len, ordered))))
    taken: list[list[Record]] = []
    for group in ordered:
        if len(group) <= room and len(taken) < len(ordered) - 1:
            taken.append(group)
            room -= len(group)
    return taken or [min(ordered, key=len)]


def _twins(records: Sequence[Record]) -> list[list[Record]]:
    """Records in groups that belong together: similar texts, and those that share a `group`."""
    leader = list(range(len(records)))

    def find(row: int) -> int:
        while leader[row] != row:
            leader[row] = row = leader[leader[row]]
        return row

    row_of = {record.id: row for row, record in enumerate(records)}
    for pair in similar_within(records):
        leader[find(row_of[pair.right.id])] = find(row_of[pair.left.id])
    first_of: dict[str, int] = {}
    for row, record in enumerate(records):
        if record.group is not None:
            leader[find(row)] = find(first_of.setdefault(record.group, row))
    groups: dict[int, list[Record]] = {}
    for row, record in enumerate(records):
        groups.setdefault(find(row), []).append(record)
    return list(groups.values())


def _by_label(groups: list[list[Record]]) -> dict[str, list[list[Record]]]:
    """Groups under the label of their first record; twins that disagree go where the first goes."""
    labelled: dict[str, list[list[Record]]] = {}
    for group in groups:
        labelled.setdefault(str(group[0].gold), []).append(group)
    return labelled


def _place(group: list[Record], seed: int) -> str:
    return min(hashlib.sha256(f"{seed}:{record.id}".encode()).hexdigest() for record in group)
