"""Several teachers' answers to one record made into one: their probabilities' mean, or that of whoever is surest.

Where answers are written, whose probability nobody else can tell, the surest one's counts. Of labels, who tells an
answer and no probabilities has one vote for it. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from slmops.synthesis.label import LONGER, doubt
from slmops.tasks.types import Answer, Record

Together = Literal["average", "surest"]
BY = "teachers"


def hear_together(answered: Sequence[Sequence[Record]], how: Together, accept_confidence: float) -> list[Record]:
    """The records, of which each teacher answered all in the same order, with every teacher's answer and then the one
    that they give together; it is rejected by its own confidence."""
    together = []
    for records in zip(*answered, strict=True):
        given = [record.answers[-1] for record in records]
        whole = (*records[0].answers[:-1], *given, _one_of(given, how, accept_confidence))
        together.append(replace(records[0], answers=whole))
    return together


def _one_of(given: Sequence[Answer], how: Together, accept: float) -> Answer:
    if longer := next((one for one in given if one.rejected == LONGER), None):
        return replace(longer, by=BY)  # one that a teacher cannot read is left out by all
    surest, labels = max(given, key=_confidence), next((one.label_probs for one in given if one.label_probs), None)
    if how == "surest" or labels is None:
        doubtful = None if surest.confidence is None else doubt(surest.confidence, accept)
        return replace(surest, by=BY, rejected=surest.rejected or doubtful)
    fit = [one for one in given if one.label_probs or one.rejected is None]  # who could not answer says nothing of it
    said = [one.label_probs or {one.text: 1.0} for one in fit]
    mean = {label: sum(one.get(label, 0.0) for one in said) / len(said) for label in labels}
    best = max(mean, key=lambda label: mean[label])
    return Answer(best, BY, doubt(mean[best], accept), mean, mean[best])


def _confidence(answer: Answer) -> tuple[bool, float]:
    """What is an answer at all comes first."""
    return answer.rejected is None, answer.confidence or 0.0
