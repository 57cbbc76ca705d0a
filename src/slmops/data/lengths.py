"""How long the texts of a file are, and whether they were cut off at a limit.

In come texts one at a time, out go percentiles, a histogram, and a finding where many end at exactly the greatest
length: lengths of texts thin out towards their end, those of a column that holds 255 characters pile up there. Knows
no tokenizer: what counts a text's words or tokens is passed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from slmops.data.findings import KEPT, Finding, Lengths, Places, Severity

_BINS = 30
_TAIL = 2  # times the 95th percentile: what is longer stands in the last bin, so that one text squeezes no others
_SHORTEST_CUT = 60  # characters: nobody cuts messages shorter
_PILE, _ABOVE_NEIGHBOURS = 5, 3  # so many different texts of the greatest length, and so many times their neighbours
_SHORTER_LENGTHS = 5  # different ones; codes and other things of one form have no tail to thin out
_MARKED = 100_000  # texts with an ellipsis at their end that are kept in mind
_LONG_SHARE = 0.9
_ENDS = ("[...]", "[…]", "(...)", "(…)", "[truncated]", "(truncated)", "<truncated>")
_REMEDY = "export them anew without the limit, or leave them out: slmops data clean"
_WARNING: Severity = "warning"


class LengthTally:
    """Counts texts by their length, in `unit` as `count` does it, and in characters."""

    def __init__(self, unit: str, count: Callable[[str], int]) -> None:
        self._unit, self._count = unit, count
        self._lengths, self._characters = Counter[int](), Counter[int]()
        self._longest, self._at_longest = 0, dict[int, str]()
        self._marked: list[tuple[int, str]] = []

    def add(self, place: str, text: str) -> None:
        characters = len(text)
        self._lengths[self._count(text)] += 1
        self._characters[characters] += 1
        if characters >= self._longest:
            if characters > self._longest:
                self._longest, self._at_longest = characters, {}
            if len(self._at_longest) < KEPT:
                self._at_longest.setdefault(hash(text), place)
        if not text[-1].isalnum() and len(self._marked) < _MARKED and _says_it_was_cut(text):
            self._marked.append((characters, place))

    def describe(self) -> Lengths:
        """Percentiles and histogram; zeros where there was no text."""
        least, most = min(self._lengths, default=0), max(self._lengths, default=0)
        median, most_of_95 = _at_share(self._lengths, 0.5), _at_share(self._lengths, 0.95)
        bins = self._bins(least, min(most, max(_TAIL * most_of_95, least)))
        return Lengths(self._unit, least, median, most_of_95, most, bins)

    def findings(self, file: str) -> Iterator[Finding]:
        """Texts that were cut off."""
        long, marked, piled = _at_share(self._characters, _LONG_SHARE), Places(), Places()
        for characters, place in self._marked:
            if characters >= long:  # people trail off, too, but not where their text is longest
                marked.add(place)
        yield from marked.finding(_WARNING, "truncated", f"{file}: long texts that end as if cut off", _REMEDY)
        if self._pile_is_a_limit():
            for place in self._at_longest.values():
                piled.add(place)
            piled.count = self._characters[self._longest]
        what = f"{file}: texts cut off at {self._longest:,} characters, as it seems: none is longer"
        yield from piled.finding(_WARNING, "truncated", what, _REMEDY)

    def _pile_is_a_limit(self) -> bool:
        longest, pile = self._longest, len(self._at_longest)
        if longest < _SHORTEST_CUT or pile < _PILE or len(self._characters) <= _SHORTER_LENGTHS:
            return False
        neighbours = (self._characters[length] for length in range(longest - longest // 10, longest))
        return self._characters[longest] >= _ABOVE_NEIGHBOURS * max(neighbours)

    def _bins(self, least: int, high: int) -> tuple[tuple[int, int, int], ...]:
        """Bins of one width up to `high`; the last one also holds what is longer."""
        width = max(1, -(-(high - least + 1) // _BINS))
        counts: Counter[int] = Counter()
        for length, count in self._lengths.items():
            counts[(min(length, high) - least) // width] += count
        bins = [(least + n * width, least + (n + 1) * width - 1, counts[n]) for n in range(max(counts, default=-1) + 1)]
        most = max(self._lengths, default=0)
        return (*bins[:-1], *((low, max(to, most), count) for low, to, count in bins[-1:]))


def count_words(text: str) -> int:
    """What stands between spaces."""
    return len(text.split())


def _at_share(lengths: Counter[int], share: float) -> int:
    """The length that so large a share of texts does not exceed; 0 where there is no text."""
    wanted, seen = share * lengths.total(), 0
    for length in sorted(lengths):
        seen += lengths[length]
        if seen >= wanted:
            return length
    return 0


def _says_it_was_cut(text: str) -> bool:
    end = text.rstrip()
    return end.lower().endswith(_ENDS) or (len(end) >= _SHORTEST_CUT and end.endswith("…") and end[-2:-1].isalnum())
