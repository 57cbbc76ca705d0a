"""JSON that fits a schema as a constraint on tokens: decoding cannot leave it. Compiled by llguidance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import ModelError, need
from slmops.models.tokenizer import Ids, Tokenizer
from slmops.tasks.types import Json

_FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}  # as json.dumps writes
_EXTRA = "train"


class JsonConstraint:
    """One answer that fits the grammar, as far as it is written."""

    longest = None  # a string may be as long as it likes

    def __init__(self, tokenizer: Any, unused: Any) -> None:
        """`unused` is a matcher of llguidance that is copied and never used itself: to compile one takes long."""
        self._tokenizer, self._unused = tokenizer, unused
        self._matcher = unused.deep_copy()
        self._taken: Ids = ()
        self._mask = need("llguidance.numpy", _EXTRA).allocate_token_bitmask(1, tokenizer.vocab_size)

    def fresh(self) -> JsonConstraint:
        return JsonConstraint(self._tokenizer, self._unused)

    def allowed(self, written: Ids) -> NDArray[np.int64]:
        """Ids that may follow, ascending; the end token alone where the answer is complete.

        Raises:
            ModelError: the grammar is too much for the compiler.
        """
        if written[: len(self._taken)] != self._taken:
            self._matcher.reset()
            self._taken = ()
        self._matcher.consume_tokens(list(written[len(self._taken) :]))
        self._taken = written
        if self._matcher.is_stopped() and not self._matcher.is_error():
            return np.array([], dtype=np.int64)
        need("llguidance.numpy", _EXTRA).fill_next_token_bitmask(self._matcher, self._mask)
        if self._matcher.is_error():
            problem = " ".join(self._matcher.get_error().split())[:300]
            raise ModelError(f"the schema cannot be followed: {problem}", where="task.schema", remedy="simplify it")
        return np.flatnonzero(np.unpackbits(self._mask[0].view(np.uint8), bitorder="little"))


def compile_schema(schema: Mapping[str, Json], folder: Path, tokenizer: Tokenizer, end: int) -> JsonConstraint:
    """The constraint of `schema` for the `tokenizer` of `folder`, whose answers end with `end`, and begin as those that
    were learned: with the space that it puts before a text, if it does."""
    guidance = need("llguidance", _EXTRA)
    tokens = guidance.LLTokenizer(str(folder / "tokenizer.json"), n_vocab=tokenizer.vocabulary_size, eos_token=end)
    begin = '" " ' if tokenizer.puts_a_space else ""
    answer = json.dumps({**schema, "x-guidance": _FORM})
    grammar = guidance.LLMatcher.grammar_from_lark(f"start: {begin}answer\nanswer: %json {answer}")
    return JsonConstraint(tokens, guidance.LLMatcher(tokens, grammar, log_level=0))
