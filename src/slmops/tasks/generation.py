"""Free generation: any text for any text."""

from __future__ import annotations

from slmops.tasks.base import TaskBase, all_of, first_of
from slmops.tasks.metrics import valid_answers
from slmops.tasks.text_metrics import chrf, rouge, token_f1
from slmops.tasks.types import Json


class Generation(TaskBase):
    """A text for each text; gold may be a list of right ones, the first of which is learned."""

    name = "generation"
    instruction = "Answer the message."

    metrics = (token_f1(), rouge("rougeL"), chrf(), valid_answers())

    def write(self, gold: Json) -> str:
        return first_of(gold)

    def check(self, gold: Json) -> None:
        for one in all_of(gold):
            self.parse(one)
