"""Natural-language inference: does the premise entail the hypothesis, contradict it, or neither?

The classical baseline sees which words the two share and which only one has, since words alone say little.
"""

from __future__ import annotations

import re

from slmops.tasks.labels import LabelTask
from slmops.tasks.types import Json, Parts, Record

_WORD = re.compile(r"\w+")


class Inference(LabelTask):
    """One label for each pair of sentences."""

    name = "inference"
    instruction = (
        "Read the premise and the hypothesis. Answer with the one label that says how the hypothesis follows from the "
        "premise, exactly as it is written here."
    )
    varied = None  # a word less in one sentence is another inference

    def inputs(self, parts: Parts) -> dict[str, Json]:
        return {"premise": parts["premise"], "hypothesis": parts["hypothesis"]}

    def ask(self, record: Record) -> str:
        return f"Premise: {record.inputs['premise']}\nHypothesis: {record.inputs['hypothesis']}"

    def features(self, record: Record) -> str:
        premise, hypothesis = (_WORD.findall(record.inputs[name].lower()) for name in ("premise", "hypothesis"))
        marked = [f"{word}_both" if word in premise else f"{word}_new" for word in hypothesis]
        marked += [f"{word}_gone" for word in premise if word not in hypothesis]
        overlap = round(10 * len(set(premise) & set(hypothesis)) / max(1, len(set(premise) | set(hypothesis))))
        return " ".join([*marked, f"overlap{overlap}"])
