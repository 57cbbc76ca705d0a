"""The words of this room: what was found, and the patterns that find it.

In comes a text, out go spans of it. Knows nothing of records, files, masks and keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Span = tuple[int, int]
Judge = Callable[
    [str, int, int], Span | None
]  # the text and a candidate's place → where the value stands, if it is one


@dataclass(frozen=True)
class Found:
    """Personal data in a text: `text[start:end]` is of this kind."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Pattern:
    """A shape, and what a candidate of that shape must fulfil besides. A shape that has its first digit at one of the
    places `leads` is tried only where digits begin, which is many times as fast as everywhere."""

    kind: str
    shape: re.Pattern[str]
    judge: Judge | None = None
    leads: tuple[int, ...] = ()

    def spans(self, text: str, digits: Sequence[int]) -> Iterator[Span]:
        """What the shape's group `value`, or else all of the shape, covers; `digits` is where runs of them begin. A
        candidate that is refused does not hide what begins inside it."""
        group = "value" if "value" in self.shape.groupindex else 0
        end = 0
        for match in self._at(text, digits) if self.leads else self._anywhere(text):
            if match.start() >= end and (span := self._judged(text, match.span(group))):
                end = span[1]
                yield span

    def _at(self, text: str, digits: Sequence[int]) -> Iterator[re.Match[str]]:
        for start in digits:
            for lead in self.leads:
                if start >= lead and (match := self.shape.match(text, start - lead)):
                    yield match

    def _anywhere(self, text: str) -> Iterator[re.Match[str]]:
        at = 0
        while match := self.shape.search(text, at):
            yield match
            at = match.start() + 1

    def _judged(self, text: str, span: Span) -> Span | None:
        return span if self.judge is None else self.judge(text, *span)


def shape(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE if ignore_case else 0)


def digits_of(text: str) -> str:
    """Its decimal digits, without what separates them."""
    return "".join(character for character in text if "0" <= character <= "9")
