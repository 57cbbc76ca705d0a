"""What texts must have in them for a pattern to be worth trying: digits near one another, an @ inside a word …

In come texts, out go the signs of each. A block of hundreds is looked at in one go, as an array of bytes, which
dismisses millions of rows for some microseconds each. One text alone would take dozens of times as long that way: a few
searches do for it. Either may see a sign too many, and never one too few. Knows no pattern.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_Places = NDArray[np.int64]

_DIGITS = frozenset(b"0123456789")
_CAPITALS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LETTERS = _CAPITALS | frozenset(b"abcdefghijklmnopqrstuvwxyz")
_TELLING = _DIGITS | _CAPITALS | frozenset(b"_-:")  # what a token has, and long words seldom
_DIGIT, _HEXADECIMAL, _TELLS, _IN_TOKEN, _SPACE, _LETTER = 1, 2, 4, 8, 16, 32
_CLASSES = bytes(
    _DIGIT * (byte in _DIGITS)
    | _HEXADECIMAL * (byte in _DIGITS | frozenset(b"abcdefABCDEF:"))
    | _TELLS * (byte in _TELLING)
    | _IN_TOKEN * (byte in _TELLING | _LETTERS | frozenset(b"+/.~"))
    | _SPACE * (byte in b" \t\n\r\v\f")
    | _LETTER * (byte in _LETTERS)
    for byte in range(256)
)
_LONG = 14  # the shortest MAC address; every known token is longer
_NUMBER = re.compile(r"[0-9](?:[ ./()\-]{0,3}[0-9]){5}")
_RUN = re.compile(r"[0-9]+")
_IBAN = re.compile(r"[A-Za-z]{2}[0-9]{2}")
_WORD, _TELLS_OF = re.compile(r"[A-Za-z0-9_:+/.~-]{14,}"), re.compile(r"[0-9A-Z_:.-]")
_YEAR = re.compile(r"(?:19|20)[0-9]{2}|[0-9][./-] ?[0-9]{1,2}[./-]")


class Sign:
    """What a text may have: bits."""

    AT = 1  # an @ inside a word
    URL = 2  # ://
    COLONS = 4  # two colons beside hexadecimal digits or colons
    DOTS = 8  # three dots between digits
    YEAR = 16  # a year, or the begin of a date in digits
    NUMBER = 32  # six digits near one another
    TOKEN = 64  # 14 characters or more of those that tokens are made of
    KEY = 128  # the begin of a private key
    IBAN = 256  # two letters, then two digits


def signs_of(text: str) -> tuple[int, list[int]]:
    """The signs of one text, and where its runs of digits begin."""
    seen = Sign.AT * ("@" in text) | Sign.URL * ("://" in text) | Sign.KEY * ("-----BEGIN" in text)
    if text.count(":") > 1:
        seen |= Sign.COLONS
    digits = [match.start() for match in _RUN.finditer(text)]
    if digits:
        seen |= Sign.DOTS * (text.count(".") > 2) | Sign.IBAN * (_IBAN.search(text) is not None)
        seen |= Sign.YEAR * (_YEAR.search(text, digits[0]) is not None)
        seen |= Sign.NUMBER * (_NUMBER.search(text, digits[0]) is not None)
    if any(_TELLS_OF.search(text, *word.span()) for word in _WORD.finditer(text)):
        seen |= Sign.TOKEN
    return seen, digits


class Signs:
    """The signs of each of `texts`, and where its runs of digits begin."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._starts = 1 + np.cumsum([0, *(len(text) + 1 for text in texts)])
        raw = "\n".join(["", *texts, ""]).encode("latin-1", "replace")  # one byte a character, so that places are kept
        codes, classes = np.frombuffer(raw, np.uint8), np.frombuffer(raw.translate(_CLASSES), np.uint8)
        digits = np.flatnonzero(classes & _DIGIT)
        self._runs = digits[np.append(True, np.diff(digits) > 1)] if len(digits) else digits
        self._bounds = np.searchsorted(self._runs, self._starts)
        counts = self._count(digits)
        signs = Sign.AT * (self._count(_inside(codes == ord("@"), classes & _SPACE == 0)) > 0)
        signs |= Sign.COLONS * (self._count(_beside(codes == ord(":"), classes & _HEXADECIMAL > 0)) > 1)
        signs |= Sign.DOTS * (self._count(_inside(codes == ord("."), classes & _DIGIT > 0)) > 2)
        signs |= Sign.TOKEN * (self._count(_tokens(classes)) > 0)
        signs |= Sign.TOKEN * (self._count(_inside(codes == ord("."), classes & _HEXADECIMAL > 0)) > 1)  # a MAC's
        signs |= Sign.IBAN * (self._count(_ibans(classes)) > 0)
        self.of: list[int] = signs.tolist()
        for sign, shape, least in ((Sign.YEAR, _YEAR, 4), (Sign.NUMBER, _NUMBER, 6)):
            for place in np.flatnonzero(counts >= least).tolist():
                if shape.search(texts[place], int(self._runs[self._bounds[place]] - self._starts[place])):
                    self.of[place] |= sign
        for sign, word in ((Sign.URL, "://"), (Sign.KEY, "-----BEGIN")):
            if word.encode() in raw:
                self.of = [seen | sign * (word in text) for seen, text in zip(self.of, texts, strict=True)]

    def digits(self, place: int) -> list[int]:
        """Where in a text runs of digits begin."""
        runs: list[int] = (self._runs[self._bounds[place] : self._bounds[place + 1]] - self._starts[place]).tolist()
        return runs

    def _count(self, places: _Places) -> _Places:
        """How many of these there are in each text."""
        return np.diff(np.searchsorted(places, self._starts))


def _inside(sign: NDArray[np.bool_], other: NDArray[np.bool_]) -> _Places:
    """Where a sign stands between two of the others. No sign is first or last: a line end is."""
    places = np.flatnonzero(sign)
    return places[other[places - 1] & other[places + 1]]


def _beside(sign: NDArray[np.bool_], other: NDArray[np.bool_]) -> _Places:
    places = np.flatnonzero(sign)
    return places[other[places - 1] | other[places + 1]]


def _tokens(classes: NDArray[np.uint8]) -> _Places:
    """Where long runs of a token's characters begin, with some among them that words have not."""
    ends = np.flatnonzero(classes & _IN_TOKEN == 0)
    long = np.flatnonzero(np.diff(ends) > _LONG)
    telling = np.flatnonzero(classes & _TELLS)
    begins, stops = ends[long] + 1, ends[long + 1]
    return begins[np.searchsorted(telling, begins) < np.searchsorted(telling, stops)]


def _ibans(classes: NDArray[np.uint8]) -> _Places:
    """Where two digits stand behind two letters."""
    letters, digits = classes & _LETTER > 0, classes & _DIGIT > 0
    return np.flatnonzero(letters[:-3] & letters[1:-2] & digits[2:-1] & digits[3:])
