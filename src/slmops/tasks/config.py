"""The section `task`: what kind of answer is asked for. Knows no data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from slmops.core.config import ConfigPath, Section, nearest, word_or_list, wrong
from slmops.core.errors import ConfigError
from slmops.core.mistakes import short
from slmops.core.named import is_named
from slmops.tasks import TASKS, task_type
from slmops.tasks.base import named_in

FROM_DATA = "from-data"
_MAX_SCHEMA_BYTES = 1_000_000
_TAKES = {
    "labels": ("classification", "inference"),
    "schema": ("extraction",),
    "success": ("conversation",),
    "template": tuple(name for name in TASKS if name != "conversation"),
}  # fields that only some tasks have
_ANSWERS = {
    "classification": ("label",),
    "inference": ("label",),
    "extraction": ("entities",),
    "code": ("code", "tests"),
}  # parts of a row that answer, beside `answer`


def _known(name: str) -> str:
    if name not in TASKS and not is_named(name):
        raise wrong(f"there is no task {name!r}", nearest(name, TASKS) + ", or module:Class for one of your own")
    return name


def _from_data_or_what(value: object) -> str:
    if value == FROM_DATA:
        return "a word"
    return "a list" if isinstance(value, list | tuple) else "an object" if isinstance(value, Mapping) else "a file"


def _check_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(labels)) < len(labels) or len(labels) < 2:
        raise wrong(f"found {len(set(labels))} different labels among {len(labels)}", "name two or more, each once")
    for label in labels:
        if not label or label != label.strip():
            raise wrong(f"the label {label!r} is blank or has spaces around it", "remove the spaces")
    return labels


def columns_of(template: str) -> tuple[str, ...]:
    """The columns that the template of a section names, one at least, or an error of validation."""
    try:
        names = named_in(template, "")
    except ConfigError as error:
        raise wrong(error.what, error.remedy) from error
    if not names:
        what = f"template {short(template)} names no column, so that all rows are the same"
        raise wrong(what, "write columns in braces, as {text}")
    return names


def _check_template(template: str, type: str) -> None:
    """Every row must ask something of its own, and not its answer."""
    names = columns_of(template)
    if told := next((name for name in names if name in ("answer", *_ANSWERS.get(type, ()))), None):
        raise wrong(f"template asks with {{{told}}}, which is the answer", f"remove {{{told}}}")


def _is_from_data(word: str) -> str:
    if word != FROM_DATA:
        raise wrong(f"found {word!r}, expected a list, or from-data")
    return word


_Type = Annotated[str, AfterValidator(_known), WithJsonSchema({"anyOf": [{"enum": list(TASKS)}, {"type": "string"}]})]
_Word = Annotated[str, AfterValidator(_is_from_data), WithJsonSchema({"const": FROM_DATA}), Tag("a word")]
_List = Annotated[
    tuple[str, ...],
    BeforeValidator(tuple, json_schema_input_type=tuple[str, ...]),
    AfterValidator(_check_labels),
    Tag("a list"),
]
_Object = Annotated[dict[str, Any], Tag("an object")]
_File = Annotated[ConfigPath, Tag("a file")]


class TaskConfig(Section):
    """What the model is to answer."""

    main: ClassVar[str] = "type"

    type: _Type = Field(
        default="classification",
        description=f"the kind of task: {', '.join(TASKS)}; or module:Class, one of your own beside slmops.yaml",
    )
    labels: Annotated[_Word | _List, Discriminator(word_or_list)] = Field(
        default=FROM_DATA,
        description="the closed set of answers: a list, or from-data (those of train)",
    )
    schema_: Annotated[_Word | _Object | _File, Discriminator(_from_data_or_what)] = Field(
        default=FROM_DATA,
        alias="schema",
        description="the JSON schema of an extraction's answers: an object, a file, or from-data (what train's fit)",
    )
    success: str | None = Field(
        default=None,
        min_length=1,
        description="what a conversation's last reply must contain, columns of the row in braces: '[{resolution}]'",
    )
    instruction: str | None = Field(
        default=None,
        min_length=1,
        max_length=20_000,
        description="the text that asks for an answer, instead of the built-in one",
    )
    template: str | None = Field(
        default=None,
        min_length=1,
        max_length=20_000,
        description="how the user's message asks, with parts and columns of the row in braces: 'Ticket: {text}'",
    )
    max_tokens: int = Field(default=256, ge=1, le=65_536, description="the length of a free answer, in tokens")
    options: dict[str, Any] = Field(default={}, description="what a task of your own is made with, by name")

    @model_validator(mode="after")
    def _fits_its_type(self) -> TaskConfig:
        for name, takers in _TAKES.items():
            given = getattr(self, "schema_" if name == "schema" else name)
            if self.type in TASKS and self.type not in takers and given not in (FROM_DATA, None):
                raise wrong(f"{self.type} has no {name}", f"it is for {' and '.join(takers)}")
        if self.options and self.type in TASKS:
            raise wrong(f"{self.type} has no options", "options are for a task of your own")
        if self.template is not None:
            _check_template(self.template, self.type)
        return self

    @property
    def closed(self) -> bool:
        """Whether answers are a closed set."""
        return self.type in _TAKES["labels"]

    @property
    def varies(self) -> bool:
        """Whether texts may be varied cheaply; what a task of the user's own says is known when it is loaded."""
        return self.type not in TASKS or task_type(self.type).varied is not None

    def given(self) -> dict[str, Any]:
        """What the task is made with, as far as it is not to be learned from data.

        Raises:
            ConfigError: the schema's file is no JSON object.
        """
        given: dict[str, Any] = {"instruction": self.instruction, "max_tokens": self.max_tokens, **self.options}
        if self.template is not None:
            given["template"] = self.template
        if self.labels != FROM_DATA:
            given["labels"] = list(self.labels)
        if self.success is not None:
            given["success"] = self.success
        if self.schema_ != FROM_DATA:
            given["schema"] = _read_schema(self.schema_) if isinstance(self.schema_, Path) else self.schema_
        return given


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_SCHEMA_BYTES:
            raise ConfigError("is larger than a megabyte", where=str(path), remedy="shorten the schema")
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"is no JSON schema: {error}", where=str(path), remedy="correct task.schema") from error
    if not isinstance(schema, dict):
        raise ConfigError("is no JSON object", where=str(path), remedy='write {"type": "object", …}')
    return schema
