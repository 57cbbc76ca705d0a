"""Writes the generated half of two pages: docs/commands.md from the commands' own help, docs/configuration.md from the
schema of slmops.yaml. What stands above the mark in a page is written by people and stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel, BeforeValidator

from slmops import cli
from slmops.core.mistakes import field_of, section_in
from slmops.stages.project import Project, json_schema

DOCS = Path(__file__).resolve().parent.parent / "docs"
MARK = "<!-- generated below: make docs -->\n"
_BOUNDS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "multipleOf": "in steps of",
}


def commands() -> str:
    """The help of every command, in the order of `slmops --help`; those of a group behind it."""
    whole = typer.main.get_command(cli.commands())
    return "\n".join(_helped(whole, typer.Context(whole, info_name="slmops", terminal_width=78)))


def _helped(group: Any, context: Any) -> Iterator[str]:
    for name, command in group.commands.items():
        own = typer.Context(command, parent=context, info_name=name)
        told = "".join(line.rstrip() + "\n" for line in command.get_help(own).splitlines())
        yield f"## {own.command_path.partition(' ')[2]}\n\n```text\n{told}```\n"
        if hasattr(command, "commands"):
            yield from _helped(command, own)


def configuration() -> str:
    """A table for the file and one for each of its sections."""
    schema = json_schema()
    top = {name: _resolved(part, schema) for name, part in schema["properties"].items()}
    plain = {name: part for name, part in top.items() if not _fields(part, schema)}
    parts = ["## The file\n\n" + _table(_rows(plain, schema, schema.get("required", []), _defaults(Project)))]
    for name, part in top.items():
        if fields := _fields(part, schema):
            field = field_of(Project, name)
            model = section_in(field.annotation)
            needed = _object(part, schema).get("required", [])
            rows = _rows(fields, schema, needed, _defaults(model))
            parts.append(f"## {name}\n\n{_object(part, schema)['description']}\n\n{_table(rows)}")
    return "\n".join(parts)


PAGES: Mapping[str, Callable[[], str]] = {"commands.md": commands, "configuration.md": configuration}


def renewed(page: Path) -> str:
    """The page as it should be."""
    return page.read_text().partition(MARK)[0] + MARK + "\n" + PAGES[page.name]()


def _rows(
    fields: Mapping[str, Any],
    schema: Mapping[str, Any],
    needed: list[str],
    defaults: Mapping[str, Any],
    above: str = "",
) -> Iterator[tuple[str, str, str, str]]:
    """field, values, default, meaning; the fields of a section within a section get a dotted name."""
    for name, part in fields.items():
        part = _resolved(part, schema)
        default = defaults[name] if name in defaults else part.get("default")
        inner = _fields(part, schema)
        if inner and not _object(part, schema).get("required"):  # a gate's limit is told as a whole
            inner_defaults = default if isinstance(default, dict) else {}
            if isinstance(default, _Whole):
                yield f"`{above}{name}`", "mapping", _code(default), part["description"]
                inner_defaults = {}
            yield from _rows(inner, schema, [], inner_defaults, f"{above}{name}.")
            continue
        shown = "**needed**" if name in needed else _code(default)
        yield f"`{above}{name}`", _values(part, schema), shown, part.get("description", "")


class _Whole(dict[str, Any]):
    """What a section holds where it is not written; whatever is written takes the place of all of it."""


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """What a section holds where nothing is said, with the names of the file."""
    found = {}
    for name, field in model.model_fields.items():
        value = None if field.is_required() or field.default_factory else field.default
        if isinstance(value, BaseModel):
            own = value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            completed = any(isinstance(rule, BeforeValidator) for rule in field.metadata)
            value = _Whole(own) if own and not completed else value.model_dump(mode="json", by_alias=True)
        found[field.alias or name] = value
    return found


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema that a reference names, under its own description."""
    if "$ref" not in part:
        return dict(part)
    return schema["$defs"][part["$ref"].rpartition("/")[2]] | {k: v for k, v in part.items() if k != "$ref"}


def _object(part: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping among a section's forms: it may also be a scalar, a list of itself, or null."""
    part = _resolved(part, schema)
    if "properties" in part:
        return part
    forms = [*part.get("anyOf", []), *([part["items"]] if "items" in part else [])]
    return next((found for form in forms if (found := _object(form, schema))), {})


def _fields(part: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_object(part, schema).get("properties", {}))


def _values(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What may stand there, in words."""
    if alternatives := part.get("anyOf") or part.get("oneOf"):
        forms = (_values(_resolved(form, schema), schema) for form in alternatives if form.get("type") != "null")
        return " or ".join(dict.fromkeys(forms))
    if "const" in part:
        return _code(part["const"])
    if "enum" in part:
        return ", ".join(map(_code, part["enum"]))
    if part.get("type") == "array":
        return f"list of {_values(_resolved(part.get('items', {}), schema), schema)}"
    kind = {"string": "text", "integer": "whole number", "boolean": "true, false", "object": "mapping"}
    word = "path" if part.get("format") == "path" else kind.get(part.get("type", ""), part.get("type", "anything"))
    return " ".join([word, *(f"{sign} {part[bound]:,}" for bound, sign in _BOUNDS.items() if bound in part)])


def _code(value: Any) -> str:
    if value is None or value == "" or value == () or value == {}:
        return "–"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _table(rows: Iterator[tuple[str, str, str, str]]) -> str:
    head = "| field | values | default | meaning |\n|---|---|---|---|\n"
    return head + "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


if __name__ == "__main__":
    for name in PAGES:
        (DOCS / name).write_text(renewed(DOCS / name))
