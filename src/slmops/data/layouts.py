"""Layouts of rows, recognised by the names of their columns: which column is the text, which the answer.

In comes a row of any file, out go its parts by the names that tasks know: `text`, `label`, `answer`, `context`,
`messages` …, checked. Whatever the layout, `text` and `answer` are there where it asks one thing and answers it;
columns that mean nothing here are passed on as they are. Knows no task.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from slmops.core.config import nearest
from slmops.data import values
from slmops.data.formats import Row, refuse
from slmops.tasks.types import Json, Record, Source

Check = Callable[[Any, str], Json]


@dataclass(frozen=True)
class Field:
    """A part of a layout: its own name and what else its column is called; how its value is checked."""

    name: str
    check: Check
    also: tuple[str, ...] = ()
    needed: bool = True

    def column(self, row: Row, named: Mapping[str, str]) -> str | None:
        """The column of `row` that holds it; `named` says it outright."""
        if self.name in named:
            return named[self.name]
        known = {name.lower(): name for name in reversed(list(row))}
        return next((known[name] for name in (self.name, *self.also) if name in known), None)


@dataclass(frozen=True)
class Layout:
    """Parts that occur together; `asks` and `answers` name those that are the text and its answer, if any are."""

    name: str
    fields: tuple[Field, ...]
    asks: tuple[str, ...] = ()
    answers: str = ""

    def columns(self, row: Row, named: Mapping[str, str]) -> dict[str, str] | None:
        """Part → column of a row of this layout; None if a needed one is missing."""
        found = {field: field.column(row, named) for field in self.fields}
        if any(column is None and field.needed for field, column in found.items()):
            return None
        return {field.name: column for field, column in found.items() if column is not None}


@dataclass(frozen=True)
class Recognised:
    """What a file's rows hold: the layout, and which column is which part. Every row is held to it."""

    layout: Layout
    columns: Mapping[str, str]

    def parts(self, row: Row, where: str) -> dict[str, Json]:
        """The parts of `row`, checked; an empty optional cell is no part.

        Raises:
            DataError: a part is missing or wrong.
        """
        used = self.used
        parts: dict[str, Json] = {name: value for name, value in row.items() if name not in used}
        for field, column in self._read:
            value = None if column is None else row.get(column)
            if value is None or (not field.needed and value in ("", [])):
                if field.needed:
                    self._refuse_missing(field, row, where)
                continue
            parts[field.name] = field.check(value, f"{where} · {column}")
        if isinstance(spans := parts.get("entities"), list) and "text" in parts:
            at = f"{where} · {self.columns['entities']}"
            parts["entities"] = values.slots_of_spans(spans, parts["text"], at)
        return parts | self._pair(parts)

    def said(self, parts: Mapping[str, Json]) -> str:
        """What a row with these parts asks, in one text: its conversation, too, or its question with the context."""
        if "text" in parts:
            return str(parts["text"])
        return Record("", {name: parts[name] for name in self._asks if name in parts}, None, Source("")).text

    def is_blank(self, row: Row) -> bool:
        """Whether nothing stands where a row asks."""
        asked = [row.get(self.columns[name]) for name in self._asks if name in self.columns]
        return all(value in (None, [], {}) or (isinstance(value, str) and not value.strip()) for value in asked)

    def unanswered(self) -> Recognised:
        """The same for a file whose rows may lack the answer."""
        layout = self.layout
        fields = tuple(replace(field, needed=field.needed and field.name != layout.answers) for field in layout.fields)
        return Recognised(replace(layout, fields=fields), self.columns)

    def fits(self, row: Row) -> bool:
        """Whether `row` has the columns of this layout that are needed."""
        return all(self.columns.get(field.name) in row for field in self.layout.fields if field.needed)

    def answer_column(self) -> str:
        """What the answer's column is called."""
        return self.columns.get(self.layout.answers, self.layout.answers or "answer")

    @cached_property
    def used(self) -> frozenset[str]:
        """The columns that mean something."""
        return frozenset(self.columns.values())

    @cached_property
    def _read(self) -> tuple[tuple[Field, str | None], ...]:
        return tuple((field, self.columns.get(field.name)) for field in self.layout.fields)

    @cached_property
    def _asks(self) -> tuple[str, ...]:
        others = (field.name for field in self.layout.fields if field.name != self.layout.answers)
        return self.layout.asks or tuple(others)

    def _pair(self, parts: Mapping[str, Json]) -> dict[str, Json]:
        if "messages" in parts:
            turns = [turn for turn in parts["messages"] if turn["role"] != "system"]
            names = ("text", "answer")
            return {name: turn["content"] for name, turn in zip(names, turns, strict=False)} if len(turns) <= 2 else {}
        asked = [parts[name] for name in self.layout.asks if name in parts]
        pair: dict[str, Json] = {"text": "\n\n".join(asked)} if asked else {}
        if self.layout.answers in parts:
            pair["answer"] = parts[self.layout.answers]
        return pair

    def _refuse_missing(self, field: Field, row: Row, where: str) -> None:
        column = self.columns.get(field.name, field.name)
        at = f"{where} · {column}"
        other = next((layout for layout in LAYOUTS if layout is not self.layout and layout.columns(row, {})), None)
        if other and column not in row:
            refuse(
                at, f"a row of {other.name}", f"{self.layout.name}, as before", "put such rows in a file of their own"
            )
        found = "null" if column in row else f"the fields {sorted(row)[:5]!r}"[:200] if row else "no field"
        refuse(at, found, repr(column), f"name the column {column!r}, or say data.fields: {{{field.name}: …}}")


_ASKED = (
    "message",
    "utterance",
    "sentence",
    "content",
    "input",
    "prompt",
    "query",
    "question",
    "review",
    "document",
    "article",
)
_LABELLED = ("intent", "category", "class", "topic", "target", "output", "completion", "answer")
_ANSWERED = ("answers", "response", "output", "completion", "solution")

LAYOUTS = (
    Layout("messages", (Field("messages", values.conversation, ("conversations", "conversation")),)),
    Layout(
        "premise + hypothesis + label",
        (
            Field("premise", values.text, ("sentence1", "sentence_a")),
            Field("hypothesis", values.text, ("sentence2", "sentence_b")),
            Field("label", values.label, ("gold_label", "entailment_judgment", "entailment_label"), needed=False),
        ),
        answers="label",
    ),
    Layout(
        "context + question + answer",
        (
            Field("context", values.text, ("passage", "paragraph")),
            Field("question", values.text, ("query",)),
            Field("answer", values.texts, _ANSWERED, needed=False),
        ),
        answers="answer",
    ),
    Layout(
        "document + summary",
        (
            Field("document", values.text, ("article", "dialogue", "dialog", "text")),
            Field("summary", values.texts, ("summaries", "highlights", "abstract")),
        ),
        ("document",),
        "summary",
    ),
    Layout(
        "text + entities",
        (
            Field("text", values.text, _ASKED),
            Field("entities", values.entities, ("slots", "spans", "ner", "annotations")),
        ),
        ("text",),
        "entities",
    ),
    Layout(
        "task + code",
        (
            Field("text", values.text, ("prompt", "task", "instruction", "question")),
            Field("code", values.text, ("canonical_solution",)),
            Field("tests", values.texts, ("test_list", "test"), needed=False),
        ),
        ("text",),
        "code",
    ),
    Layout(
        "instruction + input + output",
        (
            Field("instruction", values.text),
            Field("input", values.text, needed=False),
            Field("output", values.texts, ("response", "answer", "completion"), needed=False),
        ),
        ("instruction", "input"),
        "output",
    ),
    Layout(
        "question + answer",
        (Field("question", values.text, ("problem",)), Field("answer", values.texts, _ANSWERED)),
        ("question",),
        "answer",
    ),
    Layout(
        "source + target",
        (Field("source", values.text, ("src",)), Field("target", values.texts, ("tgt", "translation", "reference"))),
        ("source",),
        "target",
    ),
    Layout(
        "prompt + completion",
        (Field("prompt", values.text), Field("completion", values.texts, ("response", "chosen"))),
        ("prompt",),
        "completion",
    ),
    Layout(
        "input + output",
        (Field("input", values.text, ("inputs",)), Field("output", values.texts, ("outputs",))),
        ("input",),
        "output",
    ),
    Layout(
        "text + answer",
        (Field("text", values.text, _ASKED), Field("answer", values.texts, ("answers", "response"))),
        ("text",),
        "answer",
    ),
    Layout(
        "text + label",
        (Field("text", values.text, _ASKED), Field("label", values.label, _LABELLED, needed=False)),
        ("text",),
        "label",
    ),
)


def answer_of(parts: Mapping[str, Json]) -> str | None:
    """A row's answer as a string, an object as JSON; None where it has none."""
    answer = parts.get("answer")
    plain = answer is None or isinstance(answer, str)
    return answer if plain else json.dumps(answer, sort_keys=True, ensure_ascii=False)


def recognise(row: Row, where: str, named: Mapping[str, str] | None = None) -> Recognised:
    """The layout of a file whose first row is `row`; `named` (part → column) overrules the usual names.

    Raises:
        DataError: a named column is missing.
    """
    named = dict(named or {})
    for column in named.values():
        if column not in row:
            refuse(f"{where} · {column}", f"the fields {sorted(row)[:5]!r}"[:200], repr(column), nearest(column, row))
    fits: list[tuple[int, Recognised]] = []
    for layout in LAYOUTS:
        columns = layout.columns(row, named)
        if columns is not None:
            unused = len(named.keys() - columns.keys())
            fits.append((unused, Recognised(layout, columns)))
    if not fits:
        return Recognised(LAYOUTS[-1], {"text": named.get("text", "text"), "label": named.get("label", "label")})
    least = min(unused for unused, _ in fits)
    best = next(recognised for unused, recognised in fits if unused == least)
    extra = {part: column for part, column in named.items() if part not in best.columns}
    return best if not extra else Recognised(_with_extras(best.layout, extra), {**best.columns, **extra})


def _with_extras(layout: Layout, extra: Mapping[str, str]) -> Layout:
    fields = tuple(Field(part, values.checked, needed=False) for part in extra)
    return Layout(layout.name, layout.fields + fields, layout.asks, layout.answers)
