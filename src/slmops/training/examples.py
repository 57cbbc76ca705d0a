"""Conversations as packed examples: what is marked is learned, nothing else. Knows no loss and no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from slmops.core.errors import DataError
from slmops.models.packing import Example, shared_prefix
from slmops.models.tokenizer import Ids

TooLong = Literal["stop", "cut", "drop"]
_SHOWN = 3


def to_examples(rows: Iterable[tuple[str, Ids, tuple[bool, ...]]]) -> list[Example]:
    """Examples from (row, ids, which of them are learned); what all begin with, before anything is learned, becomes a
    common segment.

    Raises:
        DataError: nothing of a row is learned.
    """
    rows = list(rows)
    if idle := [row for row, _, learn in rows if not any(learn)]:
        raise DataError(
            f"nothing is to be learned of {len(idle)} rows: {', '.join(idle[:_SHOWN])}",
            where="training",
            remedy="give them an answer, or leave them out",
        )
    prompts = [ids[: learn.index(True)] for _, ids, learn in rows]
    shared = shared_prefix(prompts)
    shared = min(shared, min((len(prompt) - 1 for prompt in prompts), default=0))
    return [
        Example(row, (ids[:shared], ids[shared:]) if shared else (ids,), learn[shared:]) for row, ids, learn in rows
    ]


def within(
    examples: Sequence[Example], longest: int, too_long: TooLong, show: Callable[[str], str]
) -> tuple[list[Example], tuple[str, ...]]:
    """Examples of at most `longest` tokens, what a model was made for, and which rows were longer, each once, whatever
    copies (`row#2`) there are. Such a row is left out (`drop`), or loses the middle of what is asked before its first
    answer, the answer never (`cut`).

    Raises:
        DataError: a row is longer, and that is to `stop`; or it would be even without all that can be cut. Or all are.
    """
    kept, longer, refused = [], dict[str, None](), dict[str, int]()
    for example in examples:
        over = example.length - longest
        if over <= 0:
            kept.append(example)
            continue
        longer[example.row.partition("#")[0]] = None
        if too_long == "stop" or (too_long == "cut" and over >= example.learn.index(True)):
            refused.setdefault(example.row.partition("#")[0], over + longest)
        elif too_long == "cut":
            kept.append(_cut(example, over))
    if refused:
        (first, *others), length = refused, next(iter(refused.values()))
        what = f"{show(first)[:80]!r} has {length:,} tokens, the model takes {longest:,}"
        what += f"; so it is with {len(others)} more rows: {', '.join(others[:3])}" if others else ""
        remedy = "shorten what is too long, or write train.too_long: drop" + (", or cut" if too_long == "stop" else "")
        raise DataError(what, where=f"training · {first}", remedy=remedy)
    if examples and not kept:
        raise DataError(
            f"all {len(longer)} rows are longer than {longest:,} tokens",
            where="training",
            remedy="write train.too_long: cut",
        )
    return kept, tuple(longer)


def _cut(example: Example, tokens: int) -> Example:
    """Without `tokens` of the last segment's, around the middle of what stands before its first answer."""
    own, until = example.path[-1], example.learn.index(True)
    begin = (until - tokens) // 2
    end = begin + tokens
    return replace(
        example, path=(*example.path[:-1], own[:begin] + own[end:]), learn=example.learn[:begin] + example.learn[end:]
    )
