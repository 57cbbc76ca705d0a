"""The section `teacher`: the big model, here or behind an address. Loads none."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, WithJsonSchema, model_validator

from slmops.core.config import LISTED, Section, wrong
from slmops.runtimes.remote import LOOPBACK
from slmops.tasks.types import Prompt
from slmops.training.config import TrainConfig

_MOST_OTHERS = 8
_VARIABLE = r"\w+"


def _false_is_none(value: Any) -> Any:
    return None if value is False else value


def _is_variable(name: str) -> str:
    if not re.fullmatch(_VARIABLE, name):  # it may be the key itself, so it is not told
        raise wrong("is the name of no variable", "write the name of the environment variable that holds the key")
    return name


_Variable = Annotated[
    str, AfterValidator(_is_variable), WithJsonSchema({"type": "string", "pattern": f"^{_VARIABLE}$"})
]


class TokenPrice(Section):
    """What an endpoint asks for a million tokens."""

    input: float = Field(ge=0, le=100_000, description="the price of those it reads, in dollars")
    output: float = Field(ge=0, le=100_000, description="the price of those it writes, in dollars")


class TeacherConfig(Section):
    """The big model: one that runs here, or one behind an address."""

    main: ClassVar[str] = "model"

    model: str = Field(
        min_length=1,
        description="a model: hf:owner/name, pypi:…, file:folder, store:name, or a name of the catalogue; with an "
        "endpoint, what it is called there",
    )
    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s@?#]+$",
        description="the address of a server that speaks OpenAI's chat completions (https://host/v1); it answers the "
        "unlabelled rows, and the student learns them as it does gold",
    )
    api_key_env: _Variable | None = Field(
        default=None, description="the environment variable that holds the endpoint's key"
    )
    top_logprobs: int = Field(
        default=0,
        ge=0,
        le=20,
        description="how many of its likeliest tokens the endpoint is asked for at each place, 20 at most: the student "
        "learns them, too; 0: it answers, and no more",
    )
    sees: Literal["masked", "everything"] = Field(
        default="masked",
        description="what is sent to the endpoint: texts with personal data masked, or everything as it is",
    )
    usd_per_million_tokens: TokenPrice | None = Field(
        default=None,
        description="the endpoint's prices, {input: 2.5, output: 10}: the report says what its answers cost, and after "
        "how many of the student's that is saved",
    )
    prompt: Prompt = Field(
        default="full",
        description="full: it is asked with the task's instruction; short: without, which suits a teacher that is "
        "taught many labels",
    )
    train: Annotated[
        TrainConfig | None, BeforeValidator(_false_is_none, json_schema_input_type=TrainConfig | Literal[False])
    ] = Field(default=TrainConfig(), description="how it is taught the task; false: taken as it is")
    others: Annotated[tuple[TeacherConfig, ...], LISTED] = Field(
        default=(), description="further teachers, heard together with it; teacher: [A, B] says the same"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> TeacherConfig:
        return _checked_together(self)

    @model_validator(mode="after")
    def _is_here_or_there(self) -> TeacherConfig:
        if self.endpoint is None:
            if self.api_key_env or self.sees != "masked" or self.top_logprobs or self.usd_per_million_tokens:
                remedy = "write endpoint: https://…, or remove what is said of one"
                raise wrong("there is no endpoint", remedy)
            return self
        if self.train and "train" in self.model_fields_set:
            raise wrong("a model behind an endpoint cannot be taught here", "remove train")
        if self.prompt == "short":
            raise wrong("a model behind an endpoint is told the task", "remove prompt")
        host = urlsplit(self.endpoint).hostname or ""
        if self.api_key_env and self.endpoint.startswith("http:") and host not in LOOPBACK:
            raise wrong("http:// would send the key for all to read", "write https://")
        return self


def _checked_together(teacher: TeacherConfig) -> TeacherConfig:
    if len(teacher.others) > _MOST_OTHERS:
        raise wrong(f"found {len(teacher.others) + 1} teachers, expected at most {_MOST_OTHERS + 1}", "name fewer")
    if teacher.others and teacher.endpoint:
        raise wrong("the first of several teachers is cut and measured, which no endpoint can be", "name it later")
    for other in teacher.others:
        if other.others:
            raise wrong("another teacher has others of its own", "name all of them beside it")
    return teacher


def _first_and_others(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        return value
    first, *others = TypeAdapter(tuple[TeacherConfig, ...]).validate_python(tuple(value))
    if first.others and others:
        raise wrong("found others in a list of teachers", "name all of them in the list")
    return _checked_together(first.model_copy(update={"others": tuple(others)})) if others else first


Teachers = Annotated[  # one, or a list of them: the first one, with all others
    TeacherConfig, BeforeValidator(_first_and_others, json_schema_input_type=TeacherConfig | tuple[TeacherConfig, ...])
]
