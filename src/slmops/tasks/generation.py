"""Free generation: any text for any text."""

from __future__ import annotations

from slmops.tasks.base import TextTask
from slmops.tasks.metrics import valid_answers
from slmops.tasks.text_metrics import chrf, rouge, token_f1


class Generation(TextTask):
    """A text for each text."""

    name = "generation"
    instruction = "Answer the message."

    metrics = (token_f1(), rouge("rougeL"), chrf(), valid_answers())
