"""The one protocol of all runtimes: `generate` and `score`, over token ids.

Knows no text, template, task or HTTP. A prefix that consecutive requests share is computed once (implicit: the
longest match with what the runtime still holds, and only what was computed with the same adapter).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import ModelError
from slmops.runtimes.trie import TokenTrie

Ids = tuple[int, ...]
Finish = Literal["stop", "length"]


class Constraint(Protocol):
    """What an answer may be, token by token."""

    @property
    def longest(self) -> int | None:
        """How many tokens the longest answer has, where that is bounded."""
        ...

    def fresh(self) -> Constraint:
        """The same for another answer."""
        ...

    def allowed(self, written: Ids) -> Ids | NDArray[np.int64]:
        """Ids that may follow `written`, ascending; none where the answer is complete."""
        ...


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Temperature 0 is greedy."""

    max_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Limits:
    """What a runtime can take: tokens in prompt and answer together."""

    context: int


@dataclass(frozen=True)
class Request:
    """A prompt to answer; `constraint` restricts the answer, `adapter` is one of those that the runtime was opened
    with."""

    id: str
    prompt: Ids
    sampling: Sampling = Sampling()
    constraint: Constraint | None = None
    adapter: str | None = None


@dataclass(frozen=True)
class Chunk:
    """Newly written ids of request `id`, with their log-probabilities under the constraint; how many prompt tokens
    were reused; why it ended, on the last chunk, which has the end token's log-probability if one was chosen."""

    id: str
    ids: Ids
    logprobs: tuple[float, ...]
    reused_tokens: int = 0
    finish: Finish | None = None


@dataclass(frozen=True)
class Written:
    """A whole answer: its ids, the sum of their log-probabilities and the end's, and why it ended."""

    ids: Ids
    logprob: float
    finish: Finish
    reused_tokens: int = 0


def gather(chunks: Iterable[Chunk]) -> Written:
    """The answer that `chunks` of one request make."""
    chunks = list(chunks)
    ids = tuple(token for chunk in chunks for token in chunk.ids)
    logprob = sum(value for chunk in chunks for value in chunk.logprobs)
    return Written(ids, logprob, chunks[-1].finish or "stop", chunks[-1].reused_tokens)


@dataclass(frozen=True)
class Scores:
    """Teacher-forced log-probabilities of a continuation's tokens."""

    logprobs: tuple[float, ...]

    @property
    def total(self) -> float:
        return sum(self.logprobs)


class Runtime(Protocol):
    """A loaded model that can write and score."""

    limits: Limits

    def generate(self, requests: Iterator[Request | None]) -> Iterator[Chunk]:
        """Answers requests as they are pulled; None means that nothing waits.

        Raises:
            ModelError: a prompt does not fit the context, or there is no such adapter.
        """
        ...

    def write(self, requests: Sequence[Request]) -> list[Written]:
        """The answers to all requests, written at once where the engine can."""
        ...

    def score(self, pairs: Sequence[tuple[Ids, Ids]], adapter: str | None = None) -> list[Scores]:
        """Log-probabilities of each pair's second part after its first."""
        ...

    def choose(self, prompts: Sequence[Ids], trie: TokenTrie, adapter: str | None = None) -> NDArray[np.float64]:
        """(prompt, answer) log-probabilities of a closed set's answers when nothing else is possible."""
        ...


def check_adapter(name: str | None, known: Iterable[str]) -> None:
    """Raises ModelError where a request names an adapter that the runtime was not opened with."""
    if name is not None and name not in (names := list(known)):
        raise ModelError(f"no adapter is called {name!r}", remedy=f"known are: {', '.join(names) or 'none'}")
