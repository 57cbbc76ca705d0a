"""The words every room shares about a task: records, answers, messages, grammars, metrics.

Knows no tokens, no model, no split, no runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from slmops.tasks.classical import Classical

Json = Any
Parts = Mapping[str, Json]  # what a row holds, by names such as text, label, answer, context, messages
Role = Literal["system", "user", "assistant"]
Prompt = Literal["full", "short"]  # with the task's instruction, or without it
PROMPTS: tuple[Prompt, ...] = ("full", "short")


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
class TokenLogprobs:
    """A token that a teacher wrote, and the likeliest at its place, with their log-probabilities. A piece's letters are
    its bytes (Latin-1), since it may be a part of a character."""

    piece: str
    logprob: float
    top: Mapping[str, float]


@dataclass(frozen=True)
class Answer:
    """A teacher's answer, never mixed with gold: its text, by whom, why it was `rejected` if it was, its probability
    over a closed label set; how sure the teacher was of it, 0 to 1, and of its tokens, where it tells."""

    text: str
    by: str
    rejected: str | None = None
    label_probs: Mapping[str, float] | None = None
    confidence: float | None = None
    token_logprobs: tuple[TokenLogprobs, ...] | None = None


@dataclass(frozen=True)
class Record:
    """One example: its inputs by name, the gold answer if there is one, and teachers' answers."""

    id: str
    inputs: Mapping[str, Json]
    gold: Json | None
    source: Source
    answers: tuple[Answer, ...] = ()
    group: str | None = None

    @property
    def text(self) -> str:
        """All that is said in its inputs, one thing a line: what makes two records alike."""
        return "\n".join(_strings(self.inputs))

    def named(self, name: str) -> Record:
        """The same with the id `name`."""
        return replace(self, id=name)


def _strings(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _strings(item) if name != "role" else ()
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


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


@dataclass(frozen=True)
class JsonSchema:
    """A grammar: the answer is JSON that fits `schema` (JSON Schema, draft 2020-12), its keys in the schema's order,
    written as `json.dumps` does."""

    schema: Mapping[str, Json]


Grammar = Labels | JsonSchema


class Metric(Protocol):
    """A figure over many answers, kept as summable rows so that bootstrap and pairing are free."""

    @property
    def name(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    def rows(self, predicted: Sequence[Json], gold: Sequence[Json]) -> NDArray[np.float64]:
        """(example, statistic): what each example adds. A predicted None is an answer that was invalid."""
        ...

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """(…, statistic) sums over examples → (…): the figure."""
        ...


class Task(Protocol):
    """How a row becomes a record, a record messages, and a text an answer. Knows no tokenizer, family or runtime."""

    name: str
    grammar: Grammar | None
    metrics: tuple[Metric, ...]
    max_tokens: int  # what a free answer may have
    classical: str  # what its classical baseline is, in words
    varied: str | None  # the input that may be varied cheaply for a teacher to answer anew

    def read(self, parts: Parts) -> tuple[Mapping[str, Json], Json | None]:
        """Inputs and gold of a row. Raises KeyError for a part that is missing, InvalidAnswer for one that is wrong."""
        ...

    def named(self, parts: Parts) -> Mapping[str, Json]:
        """Further inputs, which the user's template names. Raises KeyError for one that is missing."""
        ...

    def learned(self, gold: Sequence[Json]) -> Mapping[str, Json]:
        """Options that were not given and that the gold answers to train on tell; the task is made anew with them."""
        ...

    def check(self, gold: Json) -> None:
        """Looks whether `gold` can be an answer to this task. Raises InvalidAnswer."""
        ...

    def messages(self, record: Record, answer: str | None = None) -> list[Message]:
        """The conversation that asks for the record's answer, closed by `answer` (to be learned) if given."""
        ...

    def short_messages(self, record: Record, answer: str | None = None) -> list[Message]:
        """The same without the long instruction, for a model that has learned it."""
        ...

    def write(self, gold: Json) -> str:
        """The text that a model learns to answer where `gold` is right."""
        ...

    def parse(self, text: str) -> Json:
        """The answer in `text`. Raises InvalidAnswer."""
        ...

    def baseline(self, train: Sequence[Record], test: Sequence[Record]) -> list[Json] | None:
        """A classical baseline's answers to `test`, or None where there is no sensible one."""
        ...

    def fit_baseline(self, train: Sequence[Record]) -> Classical | None:
        """The classical baseline by itself, where answers are a closed set: it reads what `features` says of a
        record."""
        ...

    def features(self, record: Record) -> str:
        """The text that the classical baseline sees."""
        ...


def messages_for(task: Task, prompt: Prompt, record: Record, answer: str | None = None) -> list[Message]:
    """The conversation that asks for the record's answer with that prompt, closed by `answer` if given."""
    ask = task.short_messages if prompt == "short" else task.messages
    return ask(record, answer)
