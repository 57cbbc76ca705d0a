"""A model folder that can be asked in words: tokenizer, chat family and the runtime that fits the folder.

In come messages, out go texts. Knows no task: what the answer may be is a grammar that is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slmops.models.families import encode_answer, encode_prompt, end_token, family_of
from slmops.models.folder import is_onnx
from slmops.models.forward import NumberFormat
from slmops.models.tokenizer import Ids, Tokenizer
from slmops.runtimes.trie import TokenTrie
from slmops.runtimes.types import Chunk, Request, Runtime, Sampling
from slmops.tasks.types import Grammar, Message


@dataclass(frozen=True)
class Reply:
    """A text, how it was written, and its probability under the grammar (its own, without one)."""

    text: str
    tokens: int
    reused_tokens: int
    logprob: float
    finish: str


class LocalModel:
    """The model of `folder`, loaded."""

    def __init__(self, folder: Path, *, threads: int = 0, number_format: NumberFormat = "float32") -> None:
        self.tokenizer = Tokenizer(folder)
        self.family = family_of(self.tokenizer)
        self.end = end_token(self.tokenizer, self.family)
        self.runtime = _open_runtime(folder, frozenset({self.end}), threads, number_format)

    def prompt(self, messages: Sequence[Message]) -> Ids:
        return encode_prompt(self.tokenizer, self.family, messages)

    def trie(self, grammar: Grammar | None) -> TokenTrie | None:
        """The grammar compiled for this model's tokens."""
        if grammar is None:
            return None
        return TokenTrie((self.tokenizer.encode(value) for value in grammar.values), self.end)

    def answer_ids(self, text: str) -> Ids:
        return encode_answer(self.tokenizer, self.family, text)

    def stream(self, prompt: Ids, sampling: Sampling, trie: TokenTrie | None) -> Iterator[Chunk]:
        return self.runtime.generate(iter([Request("", prompt, sampling, trie)]))

    def ask(
        self, messages: Sequence[Message], *, grammar: Grammar | None = None, sampling: Sampling | None = None
    ) -> Reply:
        """One answer, whole."""
        chunks = list(self.stream(self.prompt(messages), sampling or Sampling(), self.trie(grammar)))
        ids = tuple(token for chunk in chunks for token in chunk.ids)
        logprob = sum(value for chunk in chunks for value in chunk.logprobs)
        last = chunks[-1]
        return Reply(self.tokenizer.decode(ids), len(ids), last.reused_tokens, logprob, last.finish or "stop")


def _open_runtime(folder: Path, ends: frozenset[int], threads: int, number_format: NumberFormat) -> Runtime:
    if is_onnx(folder):
        from slmops.runtimes.onnx_genai import OnnxRuntime

        return OnnxRuntime(folder, ends=ends, threads=threads)
    from slmops.runtimes.torch_lm import TorchRuntime

    return TorchRuntime(folder, ends=ends, threads=threads, number_format=number_format)
