"""Summarization: a text in fewer words, with its names and numbers. The classical baseline is how the text begins."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from slmops.tasks.base import TextTask, all_of
from slmops.tasks.metrics import valid_answers
from slmops.tasks.text_metrics import UNITS, length_match, names_kept, rouge
from slmops.tasks.types import Json, Record


class Summarization(TextTask):
    """A summary for each text."""

    name = "summarization"
    instruction = "Summarize the text in a few sentences. Keep names and numbers as they are."
    varied = None  # a text with holes has no summary
    classical = "how the text begins, as long as summaries are (LEAD)"

    metrics = (rouge("rougeL"), rouge("rouge1"), rouge("rouge2"), names_kept(), length_match(), valid_answers())

    def baseline(self, train: Sequence[Record], test: Sequence[Record]) -> list[Json]:
        """The first words of each text, as many as the training summaries have on average (LEAD)."""
        lengths = [len(UNITS.findall(all_of(record.gold)[0])) for record in train]
        words = round(sum(lengths) / max(1, len(lengths)))
        texts = [" ".join(record.inputs["text"].split()) for record in test]
        return [text[: max((one.end() for one in islice(UNITS.finditer(text), words)), default=0)] for text in texts]
