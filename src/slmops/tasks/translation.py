"""Translation: the same in another language. Which ones, the instruction says."""

from __future__ import annotations

from slmops.tasks.base import TextTask
from slmops.tasks.metrics import valid_answers
from slmops.tasks.text_metrics import Bleu, chrf


class Translation(TextTask):
    """A translation for each text."""

    name = "translation"
    instruction = "Translate the text."
    varied = None

    metrics = (chrf(), Bleu(), valid_answers())
