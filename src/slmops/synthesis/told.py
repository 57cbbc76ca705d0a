"""What a remote teacher tells of its tokens: their probabilities, and those of a few others at each place.

In comes an answer's told log-probabilities; out go what its tokens spell with what could have stood there, and the
probability of each label of a closed set. Knows no server.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from slmops.models.families import FAMILIES
from slmops.tasks.types import TokenLogprobs

_ENDS = {family.end.encode() for family in FAMILIES} | {b"<|endoftext|>", b"<eos>", b""}
Told = tuple[list[bytes], list[dict[bytes | None, float]], list[float]]


def spell_out(tokens: Sequence[TokenLogprobs], text: str) -> Told | None:
    """What the tokens of `text` spell; at each what could stand there with its probability, None being the end; and the
    probability of the one there. The last place is the end, where it is told. None where they do not spell the text."""
    pieces = [_bytes(token.piece) for token in tokens]
    ended = bool(pieces) and pieces[-1] in _ENDS
    pieces = pieces[: len(pieces) - ended]
    while pieces and not pieces[-1].strip():
        pieces, ended = pieces[:-1], False  # an answer is kept without spaces around it
    lead = len(b"".join(pieces)) - len(b"".join(pieces).lstrip())
    if pieces and lead < len(pieces[0]):
        pieces[0] = pieces[0][lead:]
    if b"".join(pieces) != text.encode():
        return None
    kept = tokens[: len(pieces) + ended]
    could = [_could_stand(token, place == 0) for place, token in enumerate(kept)]
    return pieces, could, [math.exp(token.logprob) for token in kept]


def label_probabilities(labels: Sequence[str], tokens: Sequence[TokenLogprobs], text: str) -> dict[str, float] | None:
    """Each label's share of what is told: a token that only some labels begin with counts for these alike; what leads
    to none counts for none. None where the answer is not told, or no label."""
    told = spell_out(tokens, text)
    if told is None or text not in labels:
        return None
    pieces, could, there = told
    found: dict[str, float] = defaultdict(float)
    written, live = b"", 1.0
    for piece, others, probability in zip([*pieces, None], could, there, strict=False):
        for other, value in others.items():
            if other is None and piece is not None and written.decode("utf-8", "replace") in labels:
                found[written.decode()] += live * value  # it might have ended here
            elif other is not None and other != piece:
                _share(found, labels, written + other, live * value)
        written, live = written + (piece or b""), live * probability
        if len(_beginning(labels, written)) == 1:
            break
    found[text] += live
    total = sum(found.values())
    return {label: round(found[label] / total, 5) for label in labels} if total > 0 else None


def _share(found: dict[str, float], labels: Sequence[str], begin: bytes, mass: float) -> None:
    candidates = _beginning(labels, begin)
    for label in candidates:
        found[label] += mass / len(candidates)


def _beginning(labels: Sequence[str], begin: bytes) -> list[str]:
    return [label for label in labels if label.encode().startswith(begin)]


def _could_stand(token: TokenLogprobs, first: bool) -> dict[bytes | None, float]:
    found: dict[bytes | None, float] = defaultdict(float)
    told: Mapping[str, float] = {**token.top, token.piece: token.logprob}
    for piece, logprob in told.items():
        spelled = _bytes(piece)
        found[None if spelled in _ENDS else spelled.lstrip() if first else spelled] += math.exp(logprob)
    return dict(found)


def _bytes(piece: str) -> bytes:
    return piece.encode("latin-1")
