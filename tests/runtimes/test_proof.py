"""What a link calls broken, and what it does not."""

from __future__ import annotations

import math

import pytest

from slmops.core.errors import ProofError
from slmops.runtimes.probes import Probe
from slmops.runtimes.proof import SAME_LOGPROB, no_worse, require, same_end, same_ids, same_logprobs
from slmops.runtimes.types import Scores
from slmops.tasks.types import Message

PROBES = [Probe((1, 2, 3), (4, 5), (-0.5, -1.0), f"r{row}", (Message("user", f"text {row}"),)) for row in range(24)]


@pytest.mark.parametrize(
    ("prompt", "answer", "told"),
    [
        ((1, 2, 3), (4, 5), ""),
        ((1, 9, 3), (4, 5), "row r1 ('text 1'): token 2 of the prompt is '<9>', '<2>' was learned"),
        ((1, 2, 3, 7), (4, 5), "row r1 ('text 1'): token 4 of the prompt is '<7>', none was learned"),
        ((1, 2, 3), (4,), "row r1 ('text 1'): token 2 of the answer is none, '<5>' was learned"),
    ],
)
def test_the_first_other_token_is_named(prompt: tuple[int, ...], answer: tuple[int, ...], told: str) -> None:
    written = [(probe.prompt, probe.answer) for probe in PROBES]
    written[1] = (prompt, answer)
    assert same_ids("int4", "tokenizer", PROBES, written, lambda token: f"<{token}>", "mend it").broken == told


def test_rounding_holds_and_what_is_more_or_no_number_does_not() -> None:
    def broken(*moved: float, exact: bool = True) -> str:
        scores = [Scores(probe.logprobs) for probe in PROBES]
        for row, by in enumerate(moved):
            scores[row] = Scores((-0.5 + by, -1.0))
        return same_logprobs("fp32", "log-probabilities", PROBES, scores, "mend it", exact=exact).broken

    assert not broken(0.9 * SAME_LOGPROB)
    assert broken(0.0, 1.1 * SAME_LOGPROB).startswith("row r1 ('text 1'): a log-probability moved by 0.0011")
    assert broken(math.nan, 0.5).startswith("row r0 ('text 0'): a log-probability is no number")
    assert not broken(3.0, exact=False)
    assert broken(3.0, math.nan, exact=False).startswith("row r1")


@pytest.mark.parametrize(("lost", "won", "breaks"), [(0, 0, False), (7, 0, False), (8, 0, True), (8, 2, False)])
def test_answers_may_be_worse_by_chance(lost: int, won: int, breaks: bool) -> None:
    before, after = [1.0] * (24 - won) + [0.0] * won, [0.0] * lost + [1.0] * (24 - lost)
    link = no_worse("int4", "accuracy", PROBES, before, after, "mend it")
    assert bool(link.broken) == breaks
    assert (link.figures["worse"], link.figures["better"]) == (lost, won)


def test_an_end_is_one_of_those_waited_for() -> None:
    assert same_end("int4", "end token", [0, 2], 2, "mend it").holds
    broken = same_end("int4", "end token", None, 2, "mend it")
    with pytest.raises(ProofError, match=r"int4 · end token: answers end with token 2, .* for None — mend it"):
        require([broken])
