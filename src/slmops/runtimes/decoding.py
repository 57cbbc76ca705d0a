"""Writes one answer, whatever computes the logits. Works on token ids and a `step` function; knows no engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from slmops.runtimes.trie import log_softmax
from slmops.runtimes.types import Chunk, Ids, Request

Step = Callable[[Ids], NDArray[np.float32]]  # feeds ids, returns the (vocab,) logits after the last of them


def decode(request: Request, prompt_rest: Ids, reused_tokens: int, step: Step, ends: frozenset[int]) -> Iterator[Chunk]:
    """Chunks of one token each. Where the constraint leaves one choice, no step is taken; an end token is not part of
    the answer."""
    generator = np.random.default_rng(request.sampling.seed)
    written: Ids = ()
    waiting = prompt_rest
    while True:
        allowed = request.constraint.allowed(written) if request.constraint else None
        if allowed == ():
            yield Chunk(request.id, (), (), reused_tokens, "stop")
            return
        if len(written) == request.sampling.max_tokens:
            yield Chunk(request.id, (), (), reused_tokens, "length")
            return
        if allowed and len(allowed) == 1:
            token, logprob = allowed[0], 0.0
        else:
            logits, waiting = step(waiting), ()
            token, logprob = _choose(logits, allowed, request.sampling.temperature, generator)
        if token in ends:
            yield Chunk(request.id, (), (), reused_tokens, "stop")
            return
        written += (token,)
        waiting += (token,)
        yield Chunk(request.id, (token,), (logprob,), reused_tokens)


def common_length(first: Ids, second: Ids) -> int:
    """How many first ids two sequences share."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _choose(
    logits: NDArray[np.float32], allowed: Ids | None, temperature: float, generator: np.random.Generator
) -> tuple[int, float]:
    if allowed is None:
        top = float(logits.max())
        normaliser = top + float(np.log(np.exp(logits.astype(np.float64) - top).sum()))
        if temperature == 0.0:
            token = int(logits.argmax())
        else:
            noise = generator.gumbel(size=len(logits))
            token = int((logits / temperature + noise).argmax())
        return token, float(logits[token]) - normaliser
    logprobs = log_softmax(logits, allowed)
    if temperature == 0.0:
        token = max(allowed, key=lambda candidate: logprobs[candidate])
    else:
        token = max(allowed, key=lambda candidate: logprobs[candidate] / temperature + generator.gumbel())
    return token, logprobs[token]
