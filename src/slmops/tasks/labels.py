"""What tasks with a closed set of answers have in common: one label of a list. Knows no tokenizer and no runtime."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from slmops.core.errors import ConfigError, InvalidAnswer
from slmops.tasks.base import TaskBase
from slmops.tasks.classical import Classical, fit_classical
from slmops.tasks.metrics import MacroF1, accuracy, valid_answers
from slmops.tasks.types import Json, Labels, Parts, Record


class LabelTask(TaskBase):
    """One label of `labels` for each record; None: they are still to be learned. `instruction` replaces our own; the
    labels are listed below it."""

    classical = "TF-IDF and logistic regression, cross-validated"

    def __init__(self, labels: Sequence[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.labels = tuple(dict.fromkeys(labels or ()))
        if labels is None:
            return
        if len(self.labels) < 2:
            raise ConfigError(f"a choice needs two labels, found {list(labels)}", remedy="add rows of another label")
        self.grammar = Labels(self.labels)
        self.metrics = (accuracy(), MacroF1(self.labels), valid_answers())
        self._instruction += f"\nLabels: {', '.join(self.labels)}"

    def learned(self, gold: Sequence[Json]) -> dict[str, Any]:
        return {} if self.labels else {"labels": sorted({str(label) for label in gold})}

    def read(self, parts: Parts) -> tuple[Mapping[str, Json], Json | None]:
        return self.inputs(parts), _label(parts.get("label", parts.get("answer")))

    def inputs(self, parts: Parts) -> dict[str, Json]:
        """What is asked about."""
        return {"text": parts["text"]}

    def check(self, gold: Json) -> None:
        if self.labels and gold not in self.labels:
            near = difflib.get_close_matches(str(gold).strip(), self.labels, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"write one of {_few(self.labels)}"
            raise InvalidAnswer(f"found {str(gold)[:80]!r}, expected a label of the set", remedy=remedy)

    def parse(self, text: str) -> Json:
        answer = text.strip()
        if answer not in self.labels:
            raise InvalidAnswer(f"the answer {answer[:80]!r} is none of the {len(self.labels)} labels")
        return answer

    def baseline(self, train: Sequence[Record], test: Sequence[Record]) -> list[Json]:
        """The classical baseline's labels for `test`, learned from the gold of `train`."""
        return list(self.fit_baseline(train).answers([self.features(record) for record in test]))

    def fit_baseline(self, train: Sequence[Record]) -> Classical:
        """The classical baseline, learned from the gold of `train`; it reads what `features` says of a record."""
        texts, golds = [self.features(record) for record in train], [str(record.gold) for record in train]
        return Classical(fit_classical(texts, golds), self.labels)


def _label(found: Json) -> str | None:
    if found is None:
        return None
    if isinstance(found, str):
        return found.strip()  # as an answer is, before it is looked for among them
    raise InvalidAnswer(f"found {type(found).__name__}, expected a label", remedy="write one label, in quotes")


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
