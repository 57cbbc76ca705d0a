"""JSON schemas for answers: learned from examples, checked, and what they say of order.

In come schemas that nobody has checked and JSON values, out go schemas of draft 2020-12, values with their keys in the
schema's order, and the facts that a value states. Knows no text and no task.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slmops.core.errors import ConfigError, InvalidAnswer, need
from slmops.tasks.types import Json

_EXTRA = "train"
_REFERENCES = 20  # one after another: more are a circle
_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def schema_of(values: Sequence[Json]) -> dict[str, Any]:
    """The narrowest plain schema that all `values` fit: types, objects with the properties that occur (required where
    they always do), lists of one kind of item. Properties stand in the order in which they mostly come."""
    kinds = {_NAMES[type(value)] for value in values if type(value) in _NAMES}
    if "number" in kinds:
        kinds.discard("integer")
    objects = [value for value in values if isinstance(value, Mapping)]
    lists = [value for value in values if isinstance(value, list)]
    choices: list[dict[str, Any]] = []
    if kinds:
        choices.append({"type": next(iter(kinds)) if len(kinds) == 1 else sorted(kinds)})
    if objects:
        properties = {
            name: schema_of([value[name] for value in objects if name in value]) for name in _ordered_names(objects)
        }
        required = [name for name in properties if all(name in value for value in objects)]
        choices.append(
            {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        )
    if lists:
        items = [item for value in lists for item in value]
        choices.append({"type": "array", "items": schema_of(items) if items else {"type": "string"}})
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def check_schema(schema: Mapping[str, Json]) -> None:
    """Looks whether `schema` is one that decoding can follow, and that something can satisfy.

    Raises:
        ConfigError: it is none; says where in it.
    """
    jsonschema = need("jsonschema", _EXTRA)
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        where = ".".join(["task.schema", *map(str, error.absolute_path)])
        raise ConfigError(f"is no JSON schema: {error.message}"[:300], where=where, remedy="mend it") from error
    if away := next((one for one in _references(schema) if not one.startswith("#")), None):
        remedy = "write it out in the schema, under $defs"
        raise ConfigError(f"{away[:200]!r} leads out of the schema", where="task.schema", remedy=remedy)
    matcher = need("llguidance", _EXTRA).LLMatcher
    problem = matcher.validate_grammar(matcher.grammar_from_json_schema(json.dumps(schema)))
    if problem:
        raise ConfigError(
            f"no answer can be written by it: {' '.join(problem.split())}"[:400],
            where="task.schema",
            remedy="leave out what contradicts itself or is not supported",
        )


def _references(schema: Json) -> Iterable[str]:
    if isinstance(schema, Mapping):
        yield from (str(schema[key]) for key in ("$ref", "$dynamicRef", "$recursiveRef") if key in schema)
    for part in schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ():
        yield from _references(part)


class Fits:
    """Checks values against `schema`, many times."""

    def __init__(self, schema: Mapping[str, Json]) -> None:
        nowhere = need("referencing", _EXTRA).Registry()  # else a reference would be fetched from wherever it leads
        self._validator = need("jsonschema", _EXTRA).Draft202012Validator(schema, registry=nowhere)

    def check(self, value: Json) -> None:
        """Raises InvalidAnswer where `value` does not fit; says where and why."""
        error = next(
            iter(sorted(self._validator.iter_errors(value), key=lambda error: list(error.absolute_path))), None
        )
        if error is not None:
            at = "".join(f".{step}" for step in error.absolute_path).lstrip(".") or "the answer"
            raise InvalidAnswer(f"{at}: {error.message}"[:300], remedy="write what task.schema allows")


def in_order(value: Json, schema: Mapping[str, Json], whole: Mapping[str, Json] | None = None) -> Json:
    """`value` with the keys of its objects in the order in which `schema` names them, a part of the `whole` one."""
    whole = schema if whole is None else whole
    schema = _meant(schema, whole)
    properties = _properties(schema, whole)
    options = [_meant(option, whole) for name in ("anyOf", "oneOf") for option in schema.get(name, ())]
    if fitting := [option for option in options if _is_kind(value, option)] if not properties else []:
        held = set(value) if isinstance(value, Mapping) else set()
        best = next((option for option in fitting if held <= _properties(option, whole).keys()), fitting[0])
        return in_order(value, best, whole)
    if isinstance(value, Mapping):
        known = [name for name in properties if name in value]
        names = known + [name for name in value if name not in properties]
        return {name: in_order(value[name], properties.get(name, {}), whole) for name in names}
    if isinstance(value, list):
        return [in_order(item, schema.get("items", {}), whole) for item in value]
    return value


def facts_of(value: Json) -> dict[str, int]:
    """What an answer states, each with how often: every scalar with its path, an object in a list as one fact. What is
    null, blank or false states nothing, as what is left out; the order of a list counts for nothing."""
    return dict(Counter(_facts("", value)))


def _facts(path: str, value: Json) -> Iterable[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _facts(f"{path}.{name}", item)
    elif isinstance(value, list):
        for item in value:
            whole = isinstance(item, Mapping)
            yield from [f"{path}[]={json.dumps(_said(item), sort_keys=True)}"] if whole else _facts(f"{path}[]", item)
    elif value is not None and value is not False and (said := _said(value)) != "":
        yield f"{path}={json.dumps(said)}"


def _said(value: Json) -> Json:
    """A value as it is compared: text without the space around it, 5.0 as 5."""
    if isinstance(value, Mapping):
        return {name: _said(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_said(item) for item in value]
    if isinstance(value, str):
        return value.strip()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _properties(schema: Mapping[str, Any], whole: Mapping[str, Json]) -> dict[str, Any]:
    """Those of an object, and of all that it is besides (`allOf`), its own first."""
    found, parts = dict(schema.get("properties", {})), list(schema.get("allOf", ()))
    for part in parts:  # which grows, by what these are besides
        more = _meant(part, whole)
        found = {**found, **{name: of for name, of in more.get("properties", {}).items() if name not in found}}
        parts += more.get("allOf", ()) if len(parts) < _REFERENCES else ()
    return found


def _meant(schema: Any, whole: Mapping[str, Json]) -> Mapping[str, Any]:
    """The schema itself, or what it refers to in the whole one; nothing where that leads nowhere."""
    for _ in range(_REFERENCES):
        pointer = schema.get("$ref") if isinstance(schema, Mapping) else None
        if pointer is None:
            return schema if isinstance(schema, Mapping) else {}
        schema = whole
        for step in str(pointer).removeprefix("#").strip("/").split("/") if pointer != "#" else ():
            schema = schema.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(schema, Mapping) else None
    return {}


def _is_kind(value: Json, schema: Mapping[str, Json]) -> bool:
    return schema.get("type") == (
        "object" if isinstance(value, Mapping) else "array" if isinstance(value, list) else None
    )


def _ordered_names(objects: Sequence[Mapping[str, Json]]) -> list[str]:
    """All names, by their mean place in the objects that have them."""
    places: dict[str, list[int]] = {}
    for value in objects:
        for place, name in enumerate(value):
            places.setdefault(name, []).append(place)
    return sorted(places, key=lambda name: (sum(places[name]) / len(places[name]), name))
