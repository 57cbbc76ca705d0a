"""The config: sections that rooms own, composed into a file of which every mistake is told with its line.

In comes slmops.yaml, out goes a checked `Config`, or one ConfigError with all that is wrong:
`slmops.yaml:14 · student.layers: 40 is more than 30 — choose 1…30`. Knows no room and no section's meaning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from slmops.core.document import Document, load_yaml
from slmops.core.errors import ConfigError
from slmops.core.index import LATEST
from slmops.core.mistakes import Problem, as_error, explain, field_of, keys_of, leading, nearest, section_in, short

AnySection = TypeVar("AnySection", bound="Section")

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
MAIN = "main"  # the alias of what the file itself asks for, beside those called as its variants
_TAKEN = (MAIN, LATEST)


def wrong(what: str, remedy: str = "") -> PydanticCustomError:
    """What a validator raises: told as it is, with its line. The remedy is the field's description if none is given."""
    return PydanticCustomError("slmops", "{what}", {"what": what, "remedy": remedy})


def one_or_many(item: Any) -> BeforeValidator:
    """For a tuple of `item`: a list, or one that stands alone."""
    return BeforeValidator(_as_tuple, json_schema_input_type=item | tuple[item, ...])


def over(default: Section) -> BeforeValidator:
    """For a section whose keys, where not given, are those of `default` instead of its class's."""

    def complete(value: Any) -> Any:
        value = _spell_out(type(default), value)
        if not isinstance(value, dict):
            return value
        return default.model_dump(by_alias=True, exclude_defaults=True) | _given(value)

    return BeforeValidator(complete)


def word_or_list(value: object) -> str:
    """For a `Discriminator` between a word and a list, tagged so."""
    return "a list" if isinstance(value, list | tuple) else "a word"


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


LISTED = BeforeValidator(_as_tuple)  # the same for a tuple of sections that is in such a section


def _given(value: dict[str, Any]) -> dict[str, Any]:
    return {key: given for key, given in value.items() if given is not None}


def _check_name(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        raise wrong(f"{short(value)} cannot be a name", "use letters, digits, '.', '-' and '_', 64 at most")
    return value


def _absolute(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str | Path) or not str(value):
        raise wrong(f"found {short(value)}, expected a file's path")
    root = (info.context or {}).get("root", Path())
    return Path(os.path.abspath(root / os.path.expanduser(value)))


Name = Annotated[str, AfterValidator(_check_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})]
ConfigPath = Annotated[  # relative to the file's folder
    Path, BeforeValidator(_absolute), WithJsonSchema({"type": "string", "format": "path"})
]


def _check_variant(name: str) -> str:
    if name in _TAKEN:
        raise wrong(f"a run calls artifacts {name!r} itself", "call the variant something else")
    return name


def _check_overrides(value: dict[str, Any]) -> dict[str, Any]:
    if "variants" in value:
        raise wrong("found variants in a variant", "move them beside it")
    return value


class Section(BaseModel):
    """A part of the config. A scalar in its place sets the field that `main` names, and so does a list where that field
    takes one; a null is as if not written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    main: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        value = _spell_out(cls, value)
        if not isinstance(value, dict):
            raise wrong(f"found {short(value)}, expected keys", "known are " + ", ".join(keys_of(cls)))
        return {key: given for key, given in value.items() if given is not None or key not in keys_of(cls)}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(core)
        schema = handler.resolve_ref_schema(reference)
        if cls.main and "anyOf" not in schema:
            keys = dict(schema)
            schema.clear()
            schema.update({key: keys[key] for key in ("title", "description") if key in keys})
            schema["anyOf"] = [keys["properties"][cls.main], keys]
        return reference


def merged(below: Any, above: Any, section: type[BaseModel] | None = None) -> Any:
    """`above` laid over `below`, key by key where both are mappings; anything else is replaced."""
    below, above = _spell_out(section, below), _spell_out(section, above)
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: merged(below.get(key), value, _section_at(section, key)) for key, value in above.items()}


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key, as keys within keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        *above, last = key.split(".")
        part = found
        for step in above:
            part = part.setdefault(step, {})
        part[last] = value
    return found


def validate(section: type[AnySection], data: dict[str, Any], source: str) -> AnySection:
    """A section from elsewhere than a file: `source` is what errors call it.

    Raises:
        ConfigError: with all that is wrong.
    """
    try:
        return section.model_validate(data)
    except ValidationError as error:
        raise as_error(Path(source), explain(error, section, [Document(Path(source), data, {})])) from error


class Config(Section):
    """A whole file, with alternatives of itself."""

    variants: dict[
        Annotated[Name, AfterValidator(_check_variant)], Annotated[dict[str, Any], AfterValidator(_check_overrides)]
    ] = Field(default={}, description="alternatives to compare: name → what is laid over the file")
    _layers: tuple[Document, ...] = PrivateAttr(())
    _path: Path = PrivateAttr(Path())
    _variant: str | None = PrivateAttr(None)

    @classmethod
    def load(cls, path: Path, variant: str | None = None) -> Self:
        """The config in the file at `path`, or one of its variants. All of them are checked.

        Raises:
            ConfigError: with all that is wrong, in the file's order.
        """
        document = load_yaml(path)
        config, problems = cls._read(document)
        configs: dict[str | None, Self | None] = {None: config}
        variants = document.data.get("variants")
        for name, overrides in variants.items() if isinstance(variants, dict) else ():
            if isinstance(overrides, dict):
                configs[name], found = cls._read(document, document.part("variants", name))
                problems |= {problem.within(name): None for problem in found if problem not in problems}
        if problems:
            raise as_error(path, list(problems))
        chosen = configs.get(variant)
        if chosen is None:
            known = [name for name in configs if name]
            raise ConfigError(f"there is no variant {variant!r}", where=str(path), remedy=nearest(variant, known))
        chosen._variant = variant
        return chosen

    @classmethod
    def _read(cls, *layers: Document) -> tuple[Self | None, dict[Problem, None]]:
        data = layers[0].data
        for layer in layers[1:]:
            data = merged({key: value for key, value in data.items() if key != "variants"}, layer.data, cls)
        try:
            config = cls.model_validate(data, context={"root": layers[0].path.parent})
        except ValidationError as error:
            return None, dict.fromkeys(explain(error, cls, layers))
        config._layers, config._path = layers, Path(os.path.abspath(layers[0].path))
        return config, {
            Problem(*config._place(where), what, remedy): None for where, what, remedy in config.conflicts()
        }

    def tried(self, values: Mapping[str, Any], **sections: Any) -> Self:
        """As it is with other `values` by dotted key, keys and all, and other `sections` (None: as if not written).

        Raises:
            ConfigError: with all that does not fit.
        """
        whole = {
            key: dict.fromkeys(self._written_at(key)) | value if isinstance(value, dict) else value
            for key, value in values.items()
        }
        layer = nested(whole) | sections
        config, problems = self._read(*self._layers, Document(self._layers[0].path, layer, {}))
        if config is None or problems:
            raise as_error(self._layers[0].path, list(problems))
        config._path = self._path
        return config

    @property
    def path(self) -> Path:
        """The file, absolute, wherever this process went since."""
        return self._path

    @property
    def variant(self) -> str | None:
        """Which of the file's variants it is; None for the file itself."""
        return self._variant

    @property
    def root(self) -> Path:
        """The file's folder, to which paths in it are relative."""
        return self.path.parent

    def conflicts(self) -> Iterator[tuple[str, str, str]]:
        """(dotted field, what, remedy) of all that does not fit together, though each section is well."""
        yield from ()

    def error(self, field: str, what: str, remedy: str) -> ConfigError:
        """The error that the dotted `field` cannot be run, with its line."""
        return as_error(self._layers[0].path, [Problem(*self._place(field), what, remedy)])

    def _written_at(self, field: str) -> Iterator[str]:
        """The keys that the file gives the dotted `field`."""
        steps = tuple(field.split("."))
        for layer in self._layers:
            if layer.follow(steps) == steps and isinstance(part := layer.part(*steps).data, dict):
                yield from part

    def _place(self, field: str) -> tuple[int, str]:
        steps = tuple(int(step) if step.isdigit() else step for step in field.split("."))
        return leading(self._layers, steps).place(steps)


def _spell_out(section: type[BaseModel] | None, value: Any) -> Any:
    """A scalar, or a list, as the section whose main field it sets."""
    main = getattr(section, "main", "")
    field = field_of(section, main)
    alone = isinstance(value, str | int | float) and not isinstance(value, bool)
    listed = isinstance(value, list | tuple) and field is not None and get_origin(field.annotation) is tuple
    return {main: value} if main and (alone or listed) else value


def _section_at(section: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """The section that stands under `key`, unless there may be several."""
    field = field_of(section, key)
    return None if field is None or get_origin(field.annotation) is tuple else section_in(field.annotation)
