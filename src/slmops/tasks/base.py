"""What most tasks have in common: one thing is asked, a text answers it, nothing restricts the text.

A task of one's own begins here and says what is different. Knows no tokenizer, family or runtime.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from slmops.core.errors import ConfigError, InvalidAnswer
from slmops.core.mistakes import short
from slmops.tasks.types import Grammar, Json, Message, Metric, Parts, Record

if TYPE_CHECKING:
    from slmops.tasks.classical import Classical


class TaskBase:
    """A text is asked for by `instruction` and the record's text, or by a `template` with parts of the row in braces
    (`{text}`). `max_tokens` bounds what a model may write."""

    name: ClassVar[str]
    instruction: ClassVar[str]
    varied: str | None = "text"
    classical = ""

    metrics: tuple[Metric, ...]
    grammar: Grammar | None = None

    def __init__(self, *, instruction: str | None = None, template: str | None = None, max_tokens: int = 256) -> None:
        self.max_tokens = max_tokens
        self._instruction = instruction or self.instruction
        self._template = template
        self._named = named_in(template, "task.template") if template else ()

    def learned(self, gold: Sequence[Json]) -> dict[str, Any]:
        """Options that were not given and that the gold answers to train on tell.

        Raises:
            ConfigError: they do not.
        """
        return {}

    def read(self, parts: Parts) -> tuple[Mapping[str, Json], Json | None]:
        return {"text": parts["text"]}, parts.get("answer")

    def named(self, parts: Parts) -> dict[str, Json]:
        """The parts of a row that the template names. Raises KeyError for one that is missing."""
        return {name: parts[name] for name in self._named}

    def check(self, gold: Json) -> None:
        self.parse(self.write(gold))

    def messages(self, record: Record, answer: str | None = None) -> list[Message]:
        return [Message("system", self._instruction), *self.short_messages(record, answer)]

    def short_messages(self, record: Record, answer: str | None = None) -> list[Message]:
        asked = Message("user", self._template.format_map(record.inputs) if self._template else self.ask(record))
        return [asked] if answer is None else [asked, Message("assistant", answer, learn=True)]

    def ask(self, record: Record) -> str:
        """What the user's message says."""
        return str(record.inputs["text"])

    def write(self, gold: Json) -> str:
        return str(gold)

    def parse(self, text: str) -> Json:
        answer = text.strip()
        if not answer:
            raise InvalidAnswer("the answer is blank", remedy="write one, or remove the row")
        return answer

    def baseline(self, train: Sequence[Record], test: Sequence[Record]) -> list[Json] | None:
        return None

    def features(self, record: Record) -> str:
        return record.text

    def fit_baseline(self, train: Sequence[Record]) -> Classical | None:
        return None


class TextTask(TaskBase):
    """A text answers; where several are right, gold is their list, and the first is learned."""

    def write(self, gold: Json) -> str:
        return all_of(gold)[0]

    def check(self, gold: Json) -> None:
        for one in all_of(gold):
            self.parse(one)


def all_of(gold: Json) -> list[str]:
    """All right answers."""
    return [str(item) for item in gold] if isinstance(gold, list | tuple) else [str(gold)]


def named_in(template: str, where: str) -> tuple[str, ...]:
    """The names in braces of `template`.

    Raises:
        ConfigError: it is no template of plain names.
    """
    try:
        fields = [(name, form or how) for _, name, form, how in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ConfigError(f"{template!r} is no template: {error}", where=where, remedy="close its braces") from error
    names = [name for name, _ in fields]
    if not all(name.isidentifier() for name in names):
        raise ConfigError(f"{template!r} is no template", where=where, remedy="write {column}, {{ for a brace")
    if any(how for _, how in fields):
        what = f"template {short(template)} formats what it names"
        raise ConfigError(what, where=where, remedy="write {text}, without : and !")
    return tuple(dict.fromkeys(names))
