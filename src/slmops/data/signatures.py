"""MinHash signatures of texts, kept on disk, and which rows share so much of them that they are worth comparing.

In come normalised texts in batches, out go pairs of rows. A signature is the least value of each of 48 hash functions
over the text's character 8-grams; a pair is a candidate if it agrees on three that stand together in one of 64 bands
(four in one of 128 where there are millions of rows), and on twelve in all. Bands share functions: that costs a little
recall and saves three quarters of the hashing. Memory does not grow with the rows, but for some bytes a row:
signatures are read in slices, band by band. Knows no similarity: who asks compares the texts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

_GRAM = 8
_HASHES = 48
_LEAST_SHARED = 12  # of 48: pairs of Jaccard 0.4 share fewer in 1 of 70 cases, pairs of 0.1 more in 1 of 1,500
_NEIGHBOURS = 32  # of a row in one bucket, that it is paired with: thousands of look-alikes must not become millions

_BLOCK = 256  # texts hashed at once: their grams fit into the processor's cache
_SLICE = 1 << 20  # rows read at once
_SORTED = 1 << 22  # rows sorted at once
_PAIRS = 1 << 18  # compared at once
_THREADS = 2
_ROW = np.uint64(0xFFFFFFFF)
_MANY = 2_000_000  # rows; from here on, three functions a band would let too many unlike texts through
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIERS = np.random.default_rng(48).integers(0, 2**32, _HASHES, dtype=np.uint32) | np.uint32(1)


class Signatures:
    """The signatures of the rows added so far, in files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._columns = [(folder / f"hash-{column}").open("wb+") for column in range(_HASHES)]
        self._short = (folder / "short").open("wb+")
        self.rows = 0

    def add(self, batches: Iterable[Sequence[str]]) -> None:
        """Takes the next rows."""
        with ThreadPoolExecutor(_THREADS) as threads:
            computing: deque[Future[NDArray[np.uint32]]] = deque()
            for texts in batches:
                if len(computing) > _THREADS:  # more would only fill memory
                    self._keep(computing.popleft().result())
                computing.append(threads.submit(minhash, texts))
            for hashes in computing:
                self._keep(hashes.result())
        for file in (*self._columns, self._short):
            file.flush()

    def candidates(self, chosen: NDArray[np.bool_], on_band: Callable[[float], None]) -> Rows:
        """(pair, 2) rows of those `chosen` that are worth comparing, the earlier first, in order."""
        if self.rows == 0:
            return np.empty((0, 2), np.int64)
        short = np.memmap(self._short.name, np.uint8, "r", shape=(self.rows, _HASHES))
        bands = _bands(3, 64) if self.rows < _MANY else _bands(4, 128)
        found = [np.empty(0, np.int64)]
        with ThreadPoolExecutor(_THREADS) as threads:
            for turn, codes in enumerate(threads.map(lambda band: self._alike(band, chosen, short), bands)):
                found.append(codes)
                if turn % 16 == 15:
                    found = [_distinct(found)]
                on_band((turn + 1) / len(bands))
        pairs = _distinct(found)
        return np.stack((pairs >> 32, pairs & 0xFFFFFFFF), axis=1)

    def close(self) -> None:
        for file in (*self._columns, self._short):
            file.close()

    def _keep(self, hashes: NDArray[np.uint32]) -> None:
        for column, file in enumerate(self._columns):
            file.write(hashes[:, column].tobytes())
        self._short.write(hashes.astype(np.uint8).tobytes())
        self.rows += len(hashes)

    def _alike(self, band: Sequence[int], chosen: NDArray[np.bool_], short: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The pairs that agree in `band` and in enough of all functions, each as one number."""
        found = [np.empty(0, np.int64)]
        for part in range(-(-self.rows // _SORTED)):
            keys = self._keys(band, chosen, part)
            for left, right in _neighbours(keys):
                agree = (short[left] == short[right]).sum(1) >= _LEAST_SHARED
                found.append(left[agree] << 32 | right[agree])
        return np.concatenate(found)

    def _keys(self, band: Sequence[int], chosen: NDArray[np.bool_], part: int) -> NDArray[np.uint64]:
        """What rows have in `band` (32 bits) and which they are (32 bits), sorted; a part of all, whole buckets."""
        parts = np.uint64(-(-self.rows // _SORTED))
        held = []
        for start in range(0, self.rows, _SLICE):
            stop = min(self.rows, start + _SLICE)
            keys = np.zeros(stop - start, np.uint64)
            for column in band:
                keys ^= np.fromfile(self._columns[column].name, np.uint32, stop - start, offset=4 * start)
                keys *= _ODD
                keys ^= keys >> np.uint64(29)
            mine = chosen[start:stop] if parts == 1 else chosen[start:stop] & (keys % parts == part)
            keys = keys & ~_ROW | np.arange(start, stop, dtype=np.uint64)
            held.append(keys[mine])
        keys = np.concatenate(held)
        keys.sort()
        return keys


def minhash(texts: Sequence[str]) -> NDArray[np.uint32]:
    """(text, hash function) the least value over a text's 8-grams; a shorter text is its only gram."""
    hashes = np.empty((len(texts), _HASHES), np.uint32)
    for start in range(0, len(texts), _BLOCK):
        block = [text.ljust(_GRAM, "\0") for text in texts[start : start + _BLOCK]]
        lengths = np.array([len(text) for text in block])
        grams = _hash_grams("".join(block) + "\0" * _GRAM)
        bounds = np.empty(2 * len(block), np.int64)  # where a text's grams begin, and where those reach into the next
        bounds[1::2] = np.cumsum(lengths) - _GRAM + 1
        bounds[::2] = np.cumsum(lengths) - lengths
        values = np.empty_like(grams)
        for function, multiplier in enumerate(_MULTIPLIERS):
            np.multiply(grams, multiplier, out=values)
            hashes[start : start + len(block), function] = np.minimum.reduceat(values, bounds)[::2]
    return hashes


def _hash_grams(text: str) -> NDArray[np.uint32]:
    """A value for the 8 characters from each place on: a polynomial, in three doublings."""
    hashes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    factor = np.array([_ODD])
    for width in (1, 2, 4):
        hashes = hashes[:-width] * factor + hashes[width:]
        factor = factor * factor
    hashes ^= hashes >> np.uint64(31)
    return (hashes * _MIX >> np.uint64(32)).astype(np.uint32)


def _neighbours(keys: NDArray[np.uint64]) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of rows in one bucket, the earlier first, a quarter of a million at most at once."""
    buckets, rows = keys >> np.uint64(32), (keys & _ROW).astype(np.int64)
    for distance in range(1, min(_NEIGHBOURS + 1, len(rows))):
        equal = np.flatnonzero(buckets[distance:] == buckets[:-distance])
        if not len(equal):
            return
        for start in range(0, len(equal), _PAIRS):
            left = equal[start : start + _PAIRS]
            yield rows[left], rows[left + distance]


def _distinct(found: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    codes = np.concatenate(found)
    codes.sort()
    kept: NDArray[np.int64] = codes[np.append(True, codes[1:] != codes[:-1])[: len(codes)]]
    return kept


@cache
def _bands(size: int, count: int) -> list[list[int]]:
    """`count` bands of `size` functions that use all functions alike and seldom two together again."""
    generator = np.random.default_rng(size)
    used, together = np.zeros(_HASHES), np.zeros((_HASHES, _HASHES))
    bands = []
    for _ in range(count):
        tries = np.array([generator.choice(_HASHES, size, replace=False) for _ in range(50)])
        met = together[tries[:, :, None], tries[:, None, :]].sum((1, 2))
        band = tries[(10 * met + used[tries].sum(1)).argmin()]
        used[band] += 1
        together[np.ix_(band, band)] += 1
        bands.append(sorted(map(int, band)))
    return bands
