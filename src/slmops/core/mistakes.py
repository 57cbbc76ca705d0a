"""What is wrong with a config, in plain words: where, what was found and expected, what to write instead.

In come pydantic's errors and the documents they are about, out go problems a user can mend. Knows no section's meaning:
remedies come from the bounds, choices and descriptions of the fields.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from slmops.core.document import Document, Steps
from slmops.core.errors import ConfigError

_MOST = 50  # problems told at once
_KINDS = {"int": "a whole number", "float": "a number", "finite": "a finite number", "string": "text"}
_KINDS |= {"bool": "true or false", "tuple": "a list", "dict": "keys", "model": "keys"}
_BOUNDS = {"gt": "more than {}", "ge": "{} or more", "lt": "less than {}", "le": "at most {}"}


@dataclass(frozen=True)
class Problem:
    """Something wrong at a line (1-based; 0 where there are none) and dotted field."""

    line: int
    field: str
    what: str
    remedy: str

    def within(self, variant: str) -> Problem:
        """The same, naming the variant that makes it one, where the field does not."""
        if self.field.startswith("variants."):
            return self
        return replace(self, what=f"{self.what} (in the variant {variant})")


def as_error(path: Path, problems: Sequence[Problem]) -> ConfigError:
    """One error of all problems, in the file's order."""
    errors = []
    for problem in sorted(problems, key=lambda problem: problem.line):
        at = f"{path}:{problem.line}" if problem.line else str(path)
        where = " · ".join(filter(None, (at, problem.field)))
        errors.append(ConfigError(problem.what, where=where, remedy=problem.remedy))
    if len(errors) == 1:
        return errors[0]
    more = [f"… and {len(errors) - _MOST} more"] if len(errors) > _MOST else []
    return ConfigError("\n".join([*map(str, errors[:_MOST]), *more]))


def leading(layers: Sequence[Document], steps: Steps) -> Document:
    """The layer that leads furthest along `steps`; of two the upper, which decided."""
    best = max(reversed(layers), key=lambda layer: len(layer.follow(steps)))
    return best if best.follow(steps) else layers[0]


def explain(error: ValidationError, model: type[BaseModel], layers: Sequence[Document]) -> list[Problem]:
    """What pydantic found, one problem a field: the first, from which others may follow."""
    found: dict[tuple[int, str], Problem] = {}
    for details in error.errors(include_url=False):
        if details["type"] != "default_factory_not_called":  # follows from another problem
            at = _place(details, layers)
            found.setdefault(at, Problem(*at, *_describe(details, model)))
    return list(found.values())


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys a section may have, as users write them."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field's type is made of, if any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(section_in, get_args(annotation))), None)


def field_of(model: type[BaseModel] | None, key: str | int) -> FieldInfo | None:
    """The field that users write as `key`."""
    fields = model.model_fields.items() if model else ()
    return next((field for name, field in fields if (field.alias or name) == key), None)


def nearest(written: Any, known: Iterable[str]) -> str:
    """What to write instead of something that is not known."""
    names = list(known)
    near = difflib.get_close_matches(str(written)[:60], names, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}" if names else "remove it"


def short(value: Any) -> str:
    """A value as YAML users know it, cut at 60 characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "keys"
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 62 else f"{text[:60]}…"


def _place(details: ErrorDetails, layers: Sequence[Document]) -> tuple[int, str]:
    steps = details["loc"]
    if details["type"] != "missing" or any(layer.follow(steps) == steps for layer in layers):  # there it is null
        layer = leading(layers, steps)
        return layer.place(layer.follow(steps))
    layer = max(layers, key=lambda layer: len(layer.follow(steps[:-1])))  # of two the lower: the upper need not have it
    return layer.place((*layer.follow(steps[:-1]), steps[-1]))


def _describe(details: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    """(what, remedy)"""
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    section, field = _walk(model, details["loc"])
    described = f"it is {field.description}" if field and field.description else "correct it"
    match kind:
        case "slmops":
            return context["what"], context["remedy"] or described
        case "extra_forbidden":
            return "there is no such field", nearest(details["loc"][-1], keys_of(section) if section else ())
        case "missing":
            return "is missing", described.replace("it is", "add it:", 1)
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            (bound,) = context.values()
            side = {"greater_than": "not more", "greater_than_equal": "less", "less_than": "not less"}.get(kind, "more")
            return f"{short(value)} is {side} than {_number(bound)}", _range(field) or described
        case "literal_error":
            choices = _choices(field.annotation) if field else []
            what = f"found {short(value)}, expected {', '.join(map(str, choices))}"
            near = difflib.get_close_matches(str(value)[:60], [str(choice) for choice in choices], n=1)
            return what, f"did you mean {near[0]}?" if near else described
        case "union_tag_not_found":
            return f"its {context['discriminator'].strip(chr(39))} is missing", described
        case "union_tag_invalid":
            return f"found the {context['discriminator'].strip(chr(39))} {short(context['tag'])}", described
        case "too_short" | "too_long":
            few = kind == "too_short"
            word, limit = ("at least", context["min_length"]) if few else ("at most", context["max_length"])
            return f"found {context['actual_length']} items, expected {word} {limit}", described
        case "string_too_short":
            return "is empty", described
        case "string_pattern_mismatch":
            return f"found {short(value)}, which is not of the form that is asked", described
        case "multiple_of":
            return f"{short(value)} is no multiple of {context['multiple_of']}", described
        case "string_too_long":
            return f"is longer than {context['max_length']:,} characters", "shorten it"
    expected = _KINDS.get(kind.split("_")[0])
    if expected is None:
        return details["msg"], described
    return f"found {short(value)}, expected {expected}", _unquote(value, expected) or _range(field) or described


def _walk(model: type[BaseModel], loc: Steps) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The section and the field that an error is about; steps that are no field (items, a union's kinds) are passed."""
    section: type[BaseModel] | None = model
    field: FieldInfo | None = None
    for step in loc:
        if found := field_of(section, step):
            field, section = found, section_in(found.annotation)
    return section, field


def _range(field: FieldInfo | None) -> str:
    """What may be chosen, from the field's bounds."""
    rules = field.metadata if field else []
    bounds = {name: _number(getattr(rule, name)) for rule in rules for name in _BOUNDS if hasattr(rule, name)}
    if {"ge", "le"} <= bounds.keys():
        return f"choose {bounds['ge']}…{bounds['le']}"
    parts = [text.format(bounds[name]) for name, text in _BOUNDS.items() if name in bounds]
    return f"choose {', '.join(parts)}" if parts else ""


def _number(value: float) -> str:
    return f"{int(value) if value == int(value) else value:,}"


def _choices(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _unquote(value: Any, expected: str) -> str:
    if expected == "text" and isinstance(value, bool | int | float):
        return f'write "{short(value)}" in quotes, if you mean it'
    if expected != "text" and isinstance(value, str) and value.strip():
        try:
            return f"write {float(value):g} without quotes"
        except ValueError:
            return ""
    return ""
