"""Puts masks (`<EMAIL_1>`) in the place of personal data in a record, and takes them out again.

In comes any JSON value, out goes the same with masks in its strings, and what each mask stands for. The same text has
the same mask all through a record, and another record's masks say nothing about this one's. A mask that somebody typed
stays what it is: its number is not given out. Numbers, as JSON knows them, are left as they are. Knows no files and no
keys: who does not keep `masks` cannot take them back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from slmops.core.errors import DataError
from slmops.privacy.find import KINDS, MASK, find
from slmops.privacy.types import Found
from slmops.tasks.types import Json

FindNames = Callable[[str], Sequence[Found]]  # names and addresses, which no pattern finds


@dataclass(frozen=True)
class Masked:
    """A value without personal data; what its masks stand for; and how often each kind was masked."""

    value: Json
    masks: Mapping[str, str]
    counts: Counter[str]


def mask_value(value: Json, kinds: Collection[str] = frozenset(KINDS), find_names: FindNames | None = None) -> Masked:
    """`value` with personal data of these kinds masked, in fields' names too.

    Raises:
        DataError: something in it is no JSON.
    """
    masking = _Masking(kinds, find_names, {mask for text in _strings(value) for mask in MASK.findall(text)})
    masked = _map_strings(value, masking.mask)
    return Masked(masked, masking.masks, masking.counts)


def unmask_value(value: Json, masks: Mapping[str, str]) -> Json:
    """`value` with these masks taken out again; any other text stays, masks that somebody typed among it."""
    return _map_strings(value, lambda text: MASK.sub(lambda match: masks.get(match[0], match[0]), text))


class _Masking:
    """Gives out the masks of one record."""

    def __init__(self, kinds: Collection[str], find_names: FindNames | None, typed: set[str]) -> None:
        self._kinds, self._find_names, self._typed = kinds, find_names, typed
        self._given: dict[tuple[str, str], str] = {}
        self._last: Counter[str] = Counter()
        self.masks: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def mask(self, text: str) -> str:
        text = self._mask_patterns(text)
        if self._find_names is not None and (names := _outside_masks(self._find_names(text), text)):
            text = self._mask_patterns(self._put(text, names))
        return text

    def _mask_patterns(self, text: str) -> str:
        """Until nothing is found: what stood over something else hides it no longer."""
        while found := find(text, self._kinds):
            text = self._put(text, found)
        return text

    def _put(self, text: str, found: Iterable[Found]) -> str:
        parts, at = [], 0
        for one in found:
            parts += [text[at : one.start], self._mask_of(one.kind, text[one.start : one.end])]
            at = one.end
            self.counts[one.kind] += 1
        return "".join([*parts, text[at:]])

    def _mask_of(self, kind: str, value: str) -> str:
        while (kind, value) not in self._given:
            self._last[kind] += 1
            mask = f"<{kind.upper()}_{self._last[kind]}>"
            if mask not in self._typed:
                self._given[kind, value], self.masks[mask] = mask, value
        return self._given[kind, value]


def _outside_masks(found: Iterable[Found], text: str) -> list[Found]:
    """In order, none over another and none over a mask."""
    masks = [match.span() for match in MASK.finditer(text)]
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: one.start):
        free = not kept or kept[-1].end <= one.start
        if free and one.start < one.end and all(one.end <= start or end <= one.start for start, end in masks):
            kept.append(one)
    return kept


def _strings(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _strings(name)
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _map_strings(value: Json, change: Callable[[str], str]) -> Json:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_map_strings(name, change): _map_strings(item, change) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(item, change) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    raise DataError(
        f"found a {type(value).__name__}, expected JSON", remedy="save the file as JSON Lines, dates as text"
    )
