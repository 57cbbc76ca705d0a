"""Writes answers, whatever computes the logits. Works on token ids; knows no engine.

`decoding` is one answer being written: it yields ids that a model must read (and is sent the logits after the last of
them), and chunks of what it wrote. So one answer and many at once are written by the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import ModelError
from slmops.runtimes.types import Chunk, Constraint, Ids, Limits, Request

Logits = NDArray[np.float32]
Step = Callable[[Ids], Logits]  # feeds ids, returns the (vocab,) logits after the last of them
Decoding = Generator[Chunk | Ids, Logits | None, None]


def decode(
    request: Request, room: int, prompt_rest: Ids, reused_tokens: int, step: Step, ends: frozenset[int]
) -> Iterator[Chunk]:
    """Chunks of one token each, at most `room`."""
    writing = decoding(request, room, prompt_rest, reused_tokens, ends)
    logits: Logits | None = None
    while True:
        try:
            said = writing.send(logits)
        except StopIteration:
            return
        logits = None
        if isinstance(said, Chunk):
            yield said
        else:
            logits = step(said)


def decoding(request: Request, room: int, prompt_rest: Ids, reused_tokens: int, ends: frozenset[int]) -> Decoding:
    """One answer as it is written. Where the constraint leaves one choice, nothing need be read; an end token is not
    part of the answer."""
    generator = np.random.default_rng(request.sampling.seed)
    constraint = request.constraint.fresh() if request.constraint else None
    written: Ids = ()
    waiting = prompt_rest
    while True:
        allowed = constraint.allowed(written) if constraint else None
        if allowed is not None and len(allowed) == 0:
            yield Chunk(request.id, (), (), reused_tokens, "stop")
            return
        if len(written) == room:
            yield Chunk(request.id, (), (), reused_tokens, "length")
            return
        if allowed is not None and len(allowed) == 1:
            token, logprob = int(allowed[0]), 0.0
        else:
            logits = yield waiting
            assert logits is not None
            waiting = ()
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
    least = least_room(request.constraint)
    check_fits(len(request.prompt) + least, limits)
    if request.constraint and request.constraint.longest is not None:
        return least
    return min(request.sampling.max_tokens, limits.context - len(request.prompt))


def least_room(constraint: Constraint | None) -> int:
    """How many tokens an answer must have room for: the longest of a closed set, and one that ends it; of free text
    one."""
    longest = constraint.longest if constraint else None
    return 1 if longest is None else longest + 1


def check_fits(tokens: int, limits: Limits, where: str = "") -> None:
    """Raises ModelError where prompt and answer together are too long."""
    if tokens > limits.context:
        what = f"{tokens} tokens do not fit the context of {limits.context}"
        raise ModelError(what, where=where, remedy="shorten the text, or leave it out")


def common_length(first: Ids, second: Ids) -> int:
    """How many first ids two sequences share."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _choose(
    logits: Logits, allowed: Ids | NDArray[np.int64] | None, temperature: float, generator: np.random.Generator
) -> tuple[int, float]:
    """A token and its log-probability among those allowed; all, if None."""
    candidates = None if allowed is None else np.asarray(allowed)
    scores = (logits if candidates is None else logits[candidates]).astype(np.float64)
    top = scores.max()
    normaliser = top + np.log(np.exp(scores - top).sum())
    weighed = scores if temperature == 0.0 else scores / temperature + generator.gumbel(size=len(scores))
    best = int(weighed.argmax())
    return best if candidates is None else int(candidates[best]), float(scores[best] - normaliser)
