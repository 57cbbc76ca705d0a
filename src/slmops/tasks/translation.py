"""Translation: the same in another language. Which ones, the instruction says."""

from __future__ import annotations

from slmops.tasks.base import TaskBase, all_of, first_of
from slmops.tasks.metrics import valid_answers
from slmops.tasks.text_metrics import Bleu, chrf
from slmops.tasks.types import Json


class Translation(TaskBase):
    """A translation for each text; gold may be a list of right ones, the first of which is learned."""

    name = "translation"
    instruction = "Translate the text."
    varied = None

    metrics = (chrf(), Bleu(), valid_answers())

    def write(self, gold: Json) -> str:
        return first_of(gold)

    def check(self, gold: Json) -> None:
        for one in all_of(gold):
            self.parse(one)
