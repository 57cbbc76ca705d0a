"""The words every room shares about a task: records, answers, messages, grammars, metrics.

Knows no tokens, no model, no split, no runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Json = Any
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Source:
    """Where a record was read: file name and line (1-based), or the record it was made from and how."""

    file: str
    line: int = 0
    made_from: str = ""
    how: str = ""

    @property
    def place(self) -> str:
        """The row as a reader of the file finds it: `train.jsonl:7`."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Answer:
    """A teacher's answer, never mixed with gold: its text, by whom, why it was `rejected` if it was, and its
    probability over a closed label set."""

    text: str
    by: str
    rejected: str | None = None
    label_probs: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Record:
    """One example: its inputs by name, the gold answer if there is one, and teachers' answers."""

    id: str
    inputs: Mapping[str, Json]
    gold: Json | None
    source: Source
    answers: tuple[Answer, ...] = ()
    group: str | None = None


@dataclass(frozen=True)
class Message:
    """One turn of a chat; `learn` marks what a model is taught to write."""

    role: Role
    content: str
    learn: bool = False


@dataclass(frozen=True)
class Labels:
    """A grammar: the answer is exactly one of `values`. Data, compiled for each runtime."""

    values: tuple[str, ...]


Grammar = Labels


class Metric(Protocol):
    """A figure over many answers, kept as summable rows so that bootstrap and pairing are free."""

    name: str
    higher_is_better: bool

    def rows(self, predicted: Sequence[Json], gold: Sequence[Json]) -> NDArray[np.float64]:
        """(example, statistic): what each example adds. A predicted None is an answer that was invalid."""
        ...

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """(…, statistic) sums over examples → (…): the figure."""
        ...


class Task(Protocol):
    """How a record becomes messages and a text becomes an answer. Knows no tokenizer, family or runtime."""

    name: str
    grammar: Grammar | None
    metrics: tuple[Metric, ...]

    def messages(self, record: Record, answer: str | None = None) -> list[Message]:
        """The conversation that asks for the record's answer, closed by `answer` (to be learned) if given."""
        ...

    def short_messages(self, record: Record, answer: str | None = None) -> list[Message]:
        """The same without the long instruction, for a student that has learned it."""
        ...

    def parse(self, text: str) -> Json:
        """The answer in `text`. Raises InvalidAnswer."""
        ...

    def baseline(self, train: Sequence[Record], test: Sequence[Record]) -> list[Json] | None:
        """A classical baseline's answers to `test`, or None where there is no sensible one."""
        ...

    def baseline_probabilities(self, train: Sequence[Record], test: Sequence[Record]) -> NDArray[np.float64] | None:
        """(test row, answer of the grammar) probabilities by the classical baseline, None where there is none."""
        ...
