"""A teacher's distributions in the tokens of a student that has others; both write an answer in the same bytes.

At each of the student's tokens, what the teacher would write next is spelled in the student's tokens, where the two
begin a token at the same place; where the student begins one inside the teacher's, of those tokens of the teacher that
begin as the text does. A token of the student that is several of the teacher's is as likely as these together. What
cannot be spelled stays the mass of all others. Knows no file and no model.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from slmops.models.packing import Example
from slmops.models.spelling import Spelling
from slmops.models.tokenizer import Ids


@dataclass(frozen=True)
class Said:
    """What a teacher says at one of its tokens: the probabilities of what its likeliest tokens spell, None being the
    answer's end; and that of the token there."""

    likeliest: Mapping[bytes | None, float]
    there: float


END = Said({None: 1.0}, 1.0)  # of a teacher that ended there, and does not tell how surely


def respell(
    answer: Ids, pieces: Sequence[bytes], said: Sequence[Said], student: Spelling
) -> list[dict[int, float]] | None:
    """At each token of `answer`, in the student's tokens, the probabilities of its tokens, by what a teacher `said` at
    each of the `pieces` in which it has written the same, and at its end. None where they are not the same bytes.

    Spans of several tokens count their product, as in GOLD (Patiño et al. 2025, "Unlocking on-policy distillation for
    any model family", Hugging Face); alternatives are spelled anew rather than matched by their name alone.
    """
    own = student.pieces(answer[:-1])
    if own is None or b"".join(own) != b"".join(pieces):
        return None
    text, starts = b"".join(own), [0, *accumulate(map(len, pieces))]
    made, at = [], 0
    for token, piece in zip(answer, [*own, b""], strict=True):
        place = bisect_right(starts, at) - 1
        there = pieces[place] if place < len(pieces) else None
        before = text[starts[place] : at]
        found: dict[int, float] = defaultdict(float)
        among = 0.0 if there in said[place].likeliest else said[place].there
        for spelled, probability in said[place].likeliest.items():
            if spelled is None:
                found[answer[-1]] += 0.0 if before else probability
                continue
            if not spelled.startswith(before):
                continue
            among += probability
            rest = spelled[len(before) :]
            if rest and not (piece and spelled == there):
                first = student.first_token(rest, first=at == 0)
                if first is not None:
                    found[first] += probability
        if piece:
            found[token] += _likelihood(text, at + len(piece), place, starts, said)
        share = among if before else 1.0
        made.append({id: value / share for id, value in found.items() if value > 0} if share > 0 else {token: 1.0})
        at += len(piece)
    return made


def _likelihood(text: bytes, end: int, place: int, starts: Sequence[int], said: Sequence[Said]) -> float:
    """How likely the teacher finds it that the text goes on as it does up to `end`, its token at `place` being one that
    begins so: one that reaches beyond counts with all that begin as the text does up to `end`."""
    likelihood = said[place].there
    while starts[place + 1] < end:
        place += 1
        if starts[place + 1] <= end:
            likelihood *= said[place].there
            continue
        wanted = text[starts[place] : end]
        begins_so = sum(value for piece, value in said[place].likeliest.items() if piece and piece.startswith(wanted))
        likelihood *= max(begins_so, said[place].there)
    return likelihood


def respelled_row(
    own: Example, read: Example, said: Sequence[SaidTokens], student: Spelling, teacher: Spelling
) -> list[dict[int, float]] | None:
    """The same of a row's answers, of which a conversation has several, by a teacher whose tokens are known."""
    made: list[dict[int, float]] = []
    for (_, answer), (begin, other) in zip(_answers_of(own), _answers_of(read), strict=True):
        pieces, spoken = teacher.pieces(other[:-1]), said[begin : begin + len(other)]
        spelled = [_spelled(one, other[-1], teacher, first=place == 0) for place, one in enumerate(spoken)]
        found = None if pieces is None else respell(answer, pieces, spelled, student)
        if found is None:
            return None
        made += found
    return made


@dataclass(frozen=True)
class SaidTokens:
    """The same by the teacher's token ids."""

    likeliest: Mapping[int, float]
    there: float


def _spelled(said: SaidTokens, end: int, teacher: Spelling, *, first: bool) -> Said:
    """What tokens spell; those that spell nothing stay with the mass of all others."""
    found: dict[bytes | None, float] = defaultdict(float)
    for id, probability in said.likeliest.items():
        piece = None if id == end else teacher.piece(id, first=first)
        if id == end or piece is not None:
            found[piece] += probability
    return Said(found, said.there)


def _answers_of(example: Example) -> Iterator[tuple[int, Ids]]:
    """Of an example's answers, one after another, at which of its targets each begins, and its ids."""
    begin, ids = 0, []
    for token, learned, goes_on in zip(example.path[-1], example.learn, (*example.learn[1:], False), strict=True):
        if learned:
            ids.append(token)
            if not goes_on:
                yield begin, tuple(ids)
                begin, ids = begin + len(ids), []
