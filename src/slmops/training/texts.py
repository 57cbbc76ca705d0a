"""Whole texts as examples: every token is learned but the first, before which nothing stands. Knows no file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from slmops.models.packing import Example
from slmops.models.tokenizer import Ids


def alone(texts: Iterable[Ids], longest: int, most: int | None) -> list[Example]:
    """Each text by itself, cut behind `longest` tokens; the first `most` of them."""
    return _examples((text[:longest] for text in texts), "text", most)


def joined(texts: Iterable[Ids], joiner: Ids, longest: int, most: int | None) -> list[Example]:
    """All texts one after another, `joiner` between them, in blocks of `longest` tokens; the first `most` of them. The
    last one may be shorter."""
    tokens = chain.from_iterable((*(joiner if row else ()), *text) for row, text in enumerate(texts))
    return _examples(_blocks(tokens, longest), "block", most)


def _blocks(tokens: Iterator[int], length: int) -> Iterator[Ids]:
    while block := tuple(islice(tokens, length)):
        yield block


def _examples(texts: Iterable[Ids], name: str, most: int | None) -> list[Example]:
    some = islice((ids for ids in texts if len(ids) > 1), most)
    return [
        Example(f"{name}-{number}", (ids,), (False, *(True,) * (len(ids) - 1))) for number, ids in enumerate(some, 1)
    ]
