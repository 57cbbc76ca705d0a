"""Conversations as packed examples: the answer is learned, nothing else. Knows no loss and no file."""

from __future__ import annotations

from collections.abc import Iterable

from slmops.models.packing import Example, shared_prefix
from slmops.models.tokenizer import Ids


def to_examples(rows: Iterable[tuple[str, Ids, Ids]]) -> list[Example]:
    """Examples from (row, prompt, answer with its end token); what all prompts share becomes a common segment."""
    rows = list(rows)
    shared = shared_prefix([prompt for _, prompt, _ in rows])
    shared = min(shared, min((len(prompt) - 1 for _, prompt, _ in rows), default=0))
    return [
        Example(
            row,
            (prompt[:shared], prompt[shared:] + answer) if shared else (prompt + answer,),
            (False,) * (len(prompt) - shared) + (True,) * len(answer),
        )
        for row, prompt, answer in rows
    ]
