"""Classification: a text gets one label of a closed set.

In come records with `inputs["text"]`, out go messages; a model's text comes back as a label. Knows no tokenizer,
family or runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import ConfigError, InvalidAnswer
from slmops.tasks.classical import fit_classical
from slmops.tasks.metrics import Accuracy, MacroF1, ValidAnswers
from slmops.tasks.types import Grammar, Labels, Message, Metric, Record

_INSTRUCTION = "Read the message and answer with the one label that fits it best, exactly as it is written here."


class Classification:
    """One label of `labels` for each text. `instruction` replaces our own; the labels are listed below it."""

    name = "classification"

    def __init__(self, labels: Sequence[str], instruction: str | None = None) -> None:
        if len(set(labels)) < 2:
            raise ConfigError(f"a choice needs two labels, found {list(labels)}", remedy="add rows of another label")
        self.labels = tuple(dict.fromkeys(labels))
        self.grammar: Grammar | None = Labels(self.labels)
        self.metrics: tuple[Metric, ...] = (Accuracy(), MacroF1(self.labels), ValidAnswers())
        self._system = Message("system", f"{instruction or _INSTRUCTION}\nLabels: {', '.join(self.labels)}")

    def messages(self, record: Record, answer: str | None = None) -> list[Message]:
        return [self._system, *self.short_messages(record, answer)]

    def short_messages(self, record: Record, answer: str | None = None) -> list[Message]:
        asked = Message("user", record.inputs["text"])
        return [asked] if answer is None else [asked, Message("assistant", answer, learn=True)]

    def parse(self, text: str) -> str:
        answer = text.strip()
        if answer not in self.labels:
            raise InvalidAnswer(f"the answer {answer[:80]!r} is none of the {len(self.labels)} labels")
        return answer

    def baseline(self, train: Sequence[Record], test: Sequence[Record]) -> list[Any]:
        """The classical baseline's labels for `test`, learned from the gold of `train`."""
        return [self.labels[best] for best in self.baseline_probabilities(train, test).argmax(axis=1)]

    def baseline_probabilities(self, train: Sequence[Record], test: Sequence[Record]) -> NDArray[np.float64]:
        """(test row, label) probabilities by the classical baseline; a label that `train` lacks gets 0."""
        model = fit_classical([record.inputs["text"] for record in train], [str(record.gold) for record in train])
        probabilities = np.zeros((len(test), len(self.labels)))
        columns = [self.labels.index(label) for label in model.classes_]
        probabilities[:, columns] = model.predict_proba([record.inputs["text"] for record in test])
        return probabilities
