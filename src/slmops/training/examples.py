"""Conversations as packed examples: what is marked is learned, nothing else. Knows no loss and no file."""

from __future__ import annotations

from collections.abc import Iterable

from slmops.models.packing import Example, shared_prefix
from slmops.models.tokenizer import Ids


def to_examples(rows: Iterable[tuple[str, Ids, tuple[bool, ...]]]) -> list[Example]:
    """Examples from (row, ids, which of them are learned); what all begin with, before anything is learned, becomes a
    common segment."""
    rows = list(rows)
    prompts = [ids[: learn.index(True)] for _, ids, learn in rows]
    shared = shared_prefix(prompts)
    shared = min(shared, min((len(prompt) - 1 for prompt in prompts), default=0))
    return [
        Example(row, (ids[:shared], ids[shared:]) if shared else (ids,), learn[shared:]) for row, ids, learn in rows
    ]
