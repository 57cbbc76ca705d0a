"""How a key of another tool's configuration is taken: it changes nothing here and is told, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, BeforeValidator, Field

from slmops.core.config import wrong
from slmops.core.document import Steps

MACHINE = "the machine that runs slmops does the work"
NUMBERS = "the number format is probed: bf16 where the processor is fast at it, fp32 elsewhere"
LOADED = "rows are read and packed by slmops"
PADDED = "nothing is padded: texts are packed"
_IDLE = "idle"


def lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def idle(why: str) -> Any:
    """A key that changes nothing here; `why` is told."""
    return Field(default=None, description=why, json_schema_extra={_IDLE: why})


def refused(why: str, remedy: str) -> BeforeValidator:
    """For a key that asks, if it says anything, for what is not done."""
    return only(lambda value: not value, why, remedy)


def only(allowed: Callable[[Any], bool], why: str, remedy: str) -> BeforeValidator:
    """For a key of which some values alone are what is done."""

    def check(value: Any) -> Any:
        if not allowed(value):
            raise wrong(why, remedy)
        return value

    return BeforeValidator(check)


def idle_keys(value: Any, steps: Steps = ()) -> Iterator[tuple[Steps, str]]:
    """Where keys are given that change nothing, and why they do not."""
    if isinstance(value, BaseModel):
        for name in value.model_fields_set:
            extra = type(value).model_fields[name].json_schema_extra
            if isinstance(extra, dict) and _IDLE in extra:
                yield (*steps, name), str(extra[_IDLE])
            else:
                yield from idle_keys(getattr(value, name), (*steps, name))
    elif isinstance(value, dict | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from idle_keys(item, (*steps, key))
