"""Classification: a text gets one label of a closed set."""

from __future__ import annotations

from slmops.tasks.labels import LabelTask


class Classification(LabelTask):
    """One label for each text."""

    name = "classification"
    instruction = "Read the message and answer with the one label that fits it best, exactly as it is written here."
