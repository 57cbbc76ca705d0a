"""Writes one answer, whatever computes the logits. Works on token ids and a `step` function; knows no engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import ModelError
from slmops.runtimes.trie import log_softmax
from slmops.runtimes.types import Chunk, Ids, Limits, Request

Step = Callable[[Ids], NDArray[np.float32]]  # feeds ids, returns the (vocab,) logits after the last of them


def decode(
    request: Request, room: int, prompt_rest: Ids, reused_tokens: int, step: Step, ends: frozenset[int]
) -> Iterator[Chunk]:
    """Chunks of one token each, at most `room`. Where the constraint leaves one choice, no step is taken; an end token
    is not part of the answer."""
    generator = np.random.default_rng(request.sampling.seed)
    written: Ids = ()
    waiting = prompt_rest
    while True:
        allowed = request.constraint.allowed(written) if request.constraint else None
        if allowed == ():
            yield Chunk(request.id, (), (), reused_tokens, "stop")
            return
        if len(written) == room:
            yield Chunk(request.id, (), (), reused_tokens, "length")
            return
        if allowed and len(allowed) == 1:
            token, logprob = allowed[0], 0.0
        else:
            logits, waiting = step(waiting), ()
            token, logprob = _choose(logits, allowed, request.sampling.temperature, generator)
        if token in ends:
            yield Chunk(request.id, (), (logprob,), reused_tokens, "stop")
            return
        written += (token,)
        waiting += (token,)
        yield Chunk(request.id, (token,), (logprob,), reused_tokens)


def room_for_answer(request: Request, limits: Limits) -> int:
    """How many tokens may be written. Free text is cut where the context ends, an answer of a closed set never is.

    Raises:
        ModelError: the prompt leaves no room.
    """
    if request.constraint:
        room = request.constraint.longest + 1  # where one answer begins another, a token ends it
        check_fits(len(request.prompt) + room, limits)
        return room
    check_fits(len(request.prompt) + 1, limits)
    return min(request.sampling.max_tokens, limits.context - len(request.prompt))


def check_fits(tokens: int, limits: Limits) -> None:
    """Raises ModelError where prompt and answer together are too long."""
    if tokens > limits.context:
        raise ModelError(f"{tokens} tokens do not fit the context of {limits.context}", remedy="shorten the text")


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
