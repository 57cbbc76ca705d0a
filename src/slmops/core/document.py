"""A YAML file as plain data that knows its lines.

In comes a file that nobody has checked, out go mappings, lists and scalars, with the line of every key and item. What
YAML can do beyond that (tags, keys that are no text, values within themselves, references that explode) is refused.
Knows no schema.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from slmops.core.errors import ConfigError

MAX_BYTES = 200_000  # reading YAML takes about a second for each 150 kB
_MAX_VALUES = 50_000
_MAX_DEPTH = 30

Steps = tuple[str | int, ...]

_COMPUTED = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float")}
_TEXT = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "timestamp", "value", "merge")}
_NESTED = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq")}


@dataclass(frozen=True)
class Document:
    """A file's data, or what lies `within` a part of it; `lines` (1-based) by the steps from the file's root."""

    path: Path
    data: Any
    lines: Mapping[Steps, int]
    within: Steps = ()

    def part(self, *steps: str | int) -> Document:
        """What lies under `steps`."""
        data = self.data
        for step in steps:
            data = data[step]
        return replace(self, data=data, within=(*self.within, *steps))

    def follow(self, steps: Steps) -> Steps:
        """`steps` as far as they are written here; what is not written between others is left out."""
        data, written = self.data, []
        for step in steps:
            is_key = isinstance(data, dict) and step in data
            if is_key or (isinstance(data, list) and isinstance(step, int) and step < len(data)):
                written.append(step)
                data = data[step]
        return tuple(written)

    def place(self, steps: Steps) -> tuple[int, str]:
        """The line (0: there are none) and dotted field of what `steps` lead to, or would if it were written."""
        written = self.follow(steps)
        lacking = steps[len(written) :] if steps[: len(written)] == written and self._is_mapping(written) else ()
        full = (*self.within, *written, *lacking)
        held = next((full[:end] for end in range(len(full), 0, -1) if full[:end] in self.lines), ())
        return self.lines.get(held, 1 if self.lines else 0), ".".join(map(_written, full))

    def _is_mapping(self, steps: Steps) -> bool:
        data = self.data
        for step in steps:
            data = data[step]
        return isinstance(data, dict)


def load_yaml(path: Path) -> Document:
    """The file at `path`, whose root must be a mapping.

    Raises:
        ConfigError: the file cannot be read, is too large, is not UTF-8 or no YAML, or gives a key twice.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"cannot be read: {reason}", where=str(path), remedy="slmops init makes one") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"has more than {MAX_BYTES:,} bytes", where=str(path), remedy="keep data in files of its own")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        what = f"found the byte 0x{raw[error.start]:02x}, expected UTF-8"
        raise ConfigError(what, where=f"{path}:{line}", remedy="save as UTF-8") from error
    return _Reader(path).read(text)


def parse_yaml(text: str, source: str) -> Document:
    """The same of a text from elsewhere than a file: `source` is what errors call it."""
    return _Reader(Path(source)).read(text)


@dataclass
class _Reader:
    path: Path
    yaml: YAML = field(default_factory=lambda: YAML(typ="safe", pure=True))
    lines: dict[Steps, int] = field(default_factory=dict)

    def read(self, text: str) -> Document:
        try:
            with warnings.catch_warnings(action="ignore"):  # an anchor given twice: the later one holds, as YAML says
                root = self.yaml.compose(text)
        except RecursionError as error:
            raise ConfigError("is nested too deep", where=str(self.path), remedy="flatten it") from error
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            where = f"{self.path}:{line}"
            what = f"is no YAML: {error.problem or error.context}"
            remedy = "check the indentation, colons, quotes and brackets there and on the line before"
            raise ConfigError(what, where=where, remedy=remedy) from error
        except (YAMLError, ValueError, AssertionError) as error:  # an assertion: `%YAML 1.3`
            what = f"is no YAML: {' '.join(str(error).split())[:200]}"
            raise ConfigError(what, where=str(self.path), remedy="remove what stands there") from error
        if not isinstance(root, MappingNode):
            raise ConfigError(
                "found no keys", where=str(self.path), remedy="write `name: …` and so on; slmops init makes an example"
            )
        return Document(self.path, self._value(root, ()), self.lines)

    def _value(self, node: Node, steps: Steps) -> Any:
        if len(self.lines) > _MAX_VALUES or len(steps) > _MAX_DEPTH:
            raise self._error(node, "too many values, or nested too deep", "use fewer references (*name), and flatten")
        if node.tag not in (_COMPUTED | _TEXT if isinstance(node, ScalarNode) else _NESTED):
            raise self._error(node, f"the tag {node.tag}", "remove it")
        if isinstance(node, ScalarNode):
            return self._text(node) if node.tag in _TEXT else self._computed(node)
        if isinstance(node, MappingNode):
            return {key: self._value(value, (*steps, key)) for key, value in self._entries(node, steps)}
        for index, item in enumerate(node.value):
            self.lines[*steps, index] = item.start_mark.line + 1
        return [self._value(item, (*steps, index)) for index, item in enumerate(node.value)]

    def _entries(self, node: MappingNode, steps: Steps) -> Iterator[tuple[str, Node]]:
        first: dict[str, int] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, ScalarNode):
                raise self._error(key_node, "a key that is no text", "write `key: value`")
            key, line = self._text(key_node), key_node.start_mark.line + 1
            if key in first:
                remedy = "rename one of the two, or remove it"
                raise self._error(key_node, f"the key {key!r} again, after line {first[key]}", remedy)
            first[key] = self.lines[*steps, key] = line
            yield key, value

    def _text(self, node: ScalarNode) -> str:
        text = re.sub("[\ud800-\udbff][\udc00-\udfff]", _one_character, str(node.value))
        if re.search("[\0\ud800-\udfff]", text):
            raise self._error(node, f"a character that no text can hold in {text[:40]!r}", "remove it")
        return text

    def _computed(self, node: ScalarNode) -> Any:
        try:
            return self.yaml.constructor.construct_object(node)
        except (ValueError, LookupError, OverflowError) as error:  # a number of thousands of digits, `!!int x`
            found = f"{str(node.value)[:40]!r}, which cannot be read"
            raise self._error(node, found, "correct it, or put it in quotes") from error

    def _error(self, node: Node, found: str, remedy: str) -> ConfigError:
        return ConfigError(f"found {found}", where=f"{self.path}:{node.start_mark.line + 1}", remedy=remedy)


def _one_character(pair: re.Match[str]) -> str:
    """What JSON writes as two escapes."""
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")


def _written(step: str | int) -> str:
    return str(step) if isinstance(step, int) or re.fullmatch(r"[\w.-]{1,60}", step) else repr(step[:60])
