"""Reads slmops.yaml: every problem is told with file, line, field, what is wrong and what to do.

In comes a path and a pydantic model of sections (each room owns its own), out goes the model. Knows no room.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from slmops.core.errors import ConfigError

MAX_BYTES = 1_000_000
Positions = dict[tuple[str | int, ...], int]
_Model = TypeVar("_Model", bound=BaseModel)


class Section(BaseModel):
    """A section of the file. A scalar or a list given instead of it sets the field that `main` names."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    main: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _main_field(cls, value: Any) -> Any:
        return {cls.main: value} if cls.main and not isinstance(value, Mapping | BaseModel) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core))
        if not cls.main:
            return schema
        field = cls.model_fields[cls.main]
        return {"anyOf": [dict(schema["properties"][field.alias or cls.main]), schema], "title": cls.__name__}


def load_yaml(path: Path) -> tuple[dict[str, Any], Positions]:
    """The file's data, and the line (1-based) of every field.

    Raises:
        ConfigError: no such file, too large, not UTF-8, not YAML, a key given twice, or no mapping.
    """
    if not path.is_file():
        raise ConfigError("there is no such file", where=str(path), remedy="slmops init makes one")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError("is larger than 1 MB", where=str(path), remedy="keep data out of the config")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 (byte {error.start})", where=str(path), remedy="save it as UTF-8") from error
    if "&" in text and "*" in text and text.count("*") > 50:
        raise ConfigError("uses more than 50 aliases", where=str(path), remedy="write the values out")
    yaml = YAML(typ="rt")
    try:
        data = yaml.load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = str(error.problem).split(" with value")[0].replace("found ", "")
        raise ConfigError(
            f"{what}: it is given twice", where=f"{path.name}:{line}", remedy="give one of them another name"
        ) from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(
            f"is no YAML: {error.problem or error.context}", where=f"{path.name}:{line}", remedy="check the indentation"
        ) from error
    except (YAMLError, ValueError, RecursionError, OverflowError, TypeError) as error:
        raise ConfigError(f"is no YAML: {error}", where=path.name, remedy="check the syntax") from error
    if not isinstance(data, Mapping):
        raise ConfigError("holds no fields", where=path.name, remedy="slmops init shows how it may look")
    positions: Positions = {}
    try:
        return _plain(data, (), positions), positions
    except RecursionError as error:
        raise ConfigError("is nested too deeply, or within itself", where=path.name, remedy="flatten it") from error


def validate(data: Mapping[str, Any], model: type[_Model], path: Path, positions: Positions) -> _Model:
    """The model of `data`.

    Raises:
        ConfigError: naming every field that is wrong, one line each.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        told: dict[tuple[str | int, ...], ConfigError] = {}
        for details in error.errors():
            place = _real_place(details["loc"], data)
            told.setdefault(place, _explain(details, place, model, path, positions))
        deepest = [  # a union also complains, at its own place, of the member that was not meant
            problem
            for place, problem in told.items()
            if not any(len(other) > len(place) and other[: len(place)] == place for other in told)
        ]
        raise ConfigError("\n".join(map(str, deepest))) from error


def field_error(path: Path, positions: Positions, field: str, what: str, remedy: str) -> ConfigError:
    """An error at a dotted field, for checks that need more than the file to be made."""
    place = tuple(int(part) if part.isdigit() else part for part in field.split("."))
    return ConfigError(what, where=f"{path.name}:{_line(positions, place)} · {field}", remedy=remedy)


def merged(data: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with `overrides` laid over it; mappings are merged, anything else is replaced."""
    result = dict(data)
    for key, value in overrides.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _plain(node: Any, place: tuple[str | int, ...], positions: Positions) -> Any:
    if isinstance(node, Mapping):
        for key in node:
            line = node.lc.key(key)[0] + 1 if hasattr(node, "lc") and key in (node.lc.data or {}) else 1
            positions[(*place, str(key))] = line
        return {str(key): _plain(value, (*place, str(key)), positions) for key, value in node.items()}
    if isinstance(node, list):
        for index in range(len(node)):
            lines = getattr(node, "lc", None)
            known = lines is not None and index in (lines.data or {})
            positions[(*place, index)] = lines.item(index)[0] + 1 if lines is not None and known else 1
        return [_plain(value, (*place, index), positions) for index, value in enumerate(node)]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return None if node is None else str(node)


def _line(positions: Positions, place: tuple[str | int, ...]) -> int:
    while place and place not in positions:
        place = place[:-1]
    return positions.get(place, 1)


def _explain(
    details: ErrorDetails, place: tuple[str | int, ...], model: type[BaseModel], path: Path, positions: Positions
) -> ConfigError:
    where = f"{path.name}:{_line(positions, place)} · {'.'.join(map(str, place)) or 'the file'}"
    context, kind = details.get("ctx", {}), details["type"]
    found = details.get("input")
    if kind == "extra_forbidden":
        known = _fields_at(model, place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, n=1)
        remedy = f"did you mean {near[0]}?" if near else "known are " + ", ".join(known)
        return ConfigError("there is no such field", where=where, remedy=remedy)
    if kind == "missing":
        return ConfigError("is missing", where=where, remedy="add it")
    words = {
        "greater_than_equal": lambda: (f"{found!r} is too small", f"choose {context['ge']} or more"),
        "greater_than": lambda: (f"{found!r} is too small", f"choose more than {context['gt']}"),
        "less_than_equal": lambda: (f"{found!r} is too large", f"choose {context['le']} or less"),
        "less_than": lambda: (f"{found!r} is too large", f"choose less than {context['lt']}"),
        "literal_error": lambda: (f"{found!r} is not known", f"choose {context['expected']}"),
        "value_error": lambda: (str(context["error"]), "change it"),
    }
    if kind in words:
        what, remedy = words[kind]()
        return ConfigError(what, where=where, remedy=remedy)
    wanted = details["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return ConfigError(f"found {_short(found)}, expected {wanted}", where=where, remedy="correct the value")


def _real_place(loc: tuple[str | int, ...], data: Any) -> tuple[str | int, ...]:
    """The path as it stands in the file: pydantic also names the members of unions and main fields."""
    place: list[str | int] = []
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(data, Mapping) and (part in data or last):
            place.append(part)
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int):
            place.append(part)
            data = data[part] if part < len(data) else None
    return tuple(place)


def _fields_at(model: Any, place: tuple[str | int, ...]) -> list[str]:
    for part in place:
        if isinstance(part, int):
            continue
        model = next(
            (field.annotation for name, field in model.model_fields.items() if (field.alias or name) == part), None
        )
        candidates = [model, *get_args(model), *(deep for one in get_args(model) for deep in get_args(one))]
        model = next((one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), None)
        if model is None:
            return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
