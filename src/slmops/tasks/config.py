"""The section `task`: what kind of answer is asked for. Knows no data."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from slmops.core.config import Section, wrong


def _word_or_list(value: object) -> str:
    return "a list" if isinstance(value, list | tuple) else "a word"


def _check_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(labels)) < len(labels) or len(labels) < 2:
        raise wrong(f"found {len(set(labels))} different labels among {len(labels)}", "name two or more, each once")
    if unclean := next((label for label in labels if not label or label != label.strip()), None):
        raise wrong(f"the label {unclean!r} is blank or has spaces around it", "remove the spaces")
    return labels


_Word = Annotated[Literal["from-data"], Tag("a word")]
_List = Annotated[
    tuple[str, ...],
    BeforeValidator(tuple, json_schema_input_type=tuple[str, ...]),
    AfterValidator(_check_labels),
    Tag("a list"),
]


class TaskConfig(Section):
    """What the model is to answer."""

    main: ClassVar[str] = "type"

    type: Literal["classification"] = Field(default="classification", description="the kind of task")
    labels: Annotated[_Word | _List, Discriminator(_word_or_list)] = Field(
        default="from-data",
        description="the closed set of answers: a list, or from-data (those of train)",
    )
    instruction: str | None = Field(
        default=None,
        min_length=1,
        max_length=20_000,
        description="the text that asks for an answer, instead of the built-in one",
    )
