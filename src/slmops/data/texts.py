"""Texts kept on disk in the order they come, each found again by its row, and the rows that say the same.

In come normalised texts in batches, out go texts by row, and for each row the first that has its text. Memory does not
grow with the texts, but for 8 bytes a row while rows that are the same are sought. Knows no similarity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SORTED = 1 << 22  # rows sorted at once


class Texts:
    """The texts added so far, in files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._texts = (folder / "texts").open("wb+")
        self._ends = (folder / "ends").open("wb+")
        self._digests = (folder / "digests").open("wb+")
        self._ends.write(bytes(8))
        self._bytes = 0
        self.rows = 0

    def add(self, texts: Sequence[str]) -> None:
        """Takes the next rows."""
        raw = [text.encode("utf-8", "surrogatepass") for text in texts]
        ends = self._bytes + np.cumsum([len(text) for text in raw])
        self._texts.write(b"".join(raw))
        self._ends.write(ends.astype(np.int64).tobytes())
        self._digests.write(b"".join(map(_digest, raw)))
        self._bytes = int(ends[-1])
        self.rows += len(texts)

    def flush(self) -> None:
        """Makes what was added readable."""
        for file in (self._texts, self._ends, self._digests):
            file.flush()

    def __getitem__(self, row: int) -> str:
        self._ends.seek(8 * row)
        start, end = (int(place) for place in np.frombuffer(self._ends.read(16), np.int64))
        self._texts.seek(start)
        return self._texts.read(end - start).decode("utf-8", "surrogatepass")

    def batches(self, rows: int) -> Iterator[list[str]]:
        """All texts, `rows` at once."""
        for start in range(0, self.rows, rows):
            self._ends.seek(8 * start)
            ends = np.frombuffer(self._ends.read(8 * (min(rows, self.rows - start) + 1)), np.int64)
            self._texts.seek(int(ends[0]))
            raw = self._texts.read(int(ends[-1] - ends[0]))
            places = (ends - ends[0]).tolist()
            yield [raw[begin:end].decode("utf-8", "surrogatepass") for begin, end in pairwise(places)]

    def first_rows(self) -> NDArray[np.int64]:
        """For each row, the first that has the same text."""
        return first_rows(Path(self._digests.name), self.rows)

    def close(self) -> None:
        for file in (self._texts, self._ends, self._digests):
            file.close()


def digest(text: str) -> bytes:
    """Eight bytes by which a text is known among others."""
    return _digest(text.encode("utf-8", "surrogatepass"))


def _digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=8).digest()


def first_rows(digests: Path, rows: int) -> NDArray[np.int64]:
    """For each row, the first that has the same 8 bytes in the file `digests`."""
    first = np.arange(rows)
    parts = -(-rows // _SORTED)
    for part in range(parts):
        held = []
        for start in range(0, rows, _SORTED):
            values = np.fromfile(digests, np.uint64, min(_SORTED, rows - start), offset=8 * start)
            mine = np.flatnonzero(values % np.uint64(parts) == part)
            held.append((mine + start, values[mine]))
        places, values = (np.concatenate(arrays) for arrays in zip(*held, strict=True))
        _, begin, which = np.unique(values, return_index=True, return_inverse=True)
        first[places] = places[begin][which]
    return first
