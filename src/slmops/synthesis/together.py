"""Several teachers' answers to one record made into one: their probabilities' mean, or that of whoever is surest.

Where answers are written, whose probability nobody else can tell, the surest one's counts. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from slmops.synthesis.label import doubt
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
    surest = max(given, key=_confidence)
    if how == "surest" or surest.label_probs is None:
        return replace(surest, by=BY)
    said = [one.label_probs for one in given if one.label_probs]  # who could not read a record says nothing of it
    mean = {label: sum(one[label] for one in said) / len(said) for label in surest.label_probs}
    best = max(mean, key=lambda label: mean[label])
    return Answer(best, BY, doubt(mean[best], accept), mean, mean[best])


def _confidence(answer: Answer) -> tuple[bool, float]:
    """What is an answer at all comes first."""
    return answer.rejected is None, answer.confidence or 0.0
