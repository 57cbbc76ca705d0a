"""Code of the user's own, named `module:name`: a task, a loss, a metric, a callback. Knows no room.

A module is imported only after whoever runs the user's own project has allowed its name: one that stands in a model's
card, or in an artifact of somebody else's, imports nothing.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import resolve_name
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from slmops.core.config import wrong
from slmops.core.errors import ConfigError

_FORM = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"
_allowed: set[str] = set()


def is_named(name: str) -> bool:
    """Whether it has the form of a name of the user's own code."""
    return re.fullmatch(_FORM, name) is not None


def allow(name: str, beside: Path | None = None) -> None:
    """From now on `name` may be loaded, its module also from the folder `beside`: the user's own project names it."""
    if beside and str(beside) not in sys.path:
        sys.path.insert(0, str(beside))
    _allowed.add(name)


def load_named(name: str, where: str) -> Any:
    """What is named.

    Raises:
        ConfigError: it may not be imported, there is no such thing, or its module fails.
    """
    if name not in _allowed:
        remedy = "run this in the folder of the slmops.yaml that names it"
        raise ConfigError(f"{name!r} is code of a project", where=where, remedy=remedy)
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ConfigError(f"{name}: {error}", where=where, remedy="name module:name, beside slmops.yaml") from error


def code_of(name: str, where: str) -> str:
    """What decides how it works: the hash of its module's file, and of those beside it that it imports."""
    load_named(name, where)
    module = name.partition(":")[0]
    file = sys.modules[module].__file__
    if not file:
        return ""
    top = Path(file).parents[module.count(".") + (Path(file).stem == "__init__")]
    installed = "site-packages" in top.parts  # then what stands beside its package is others'
    files, waiting = {Path(file)}, [(module, Path(file))]
    while waiting:
        for other in _imports(*waiting.pop()):
            if installed and other.split(".")[0] != module.split(".")[0]:
                continue
            found = next((path for path in _files(top, other) if path.is_file()), None)
            if found and found not in files:
                files.add(found)
                waiting.append((other, found))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


def _imports(module: str, file: Path) -> Iterator[str]:
    """The full names of what may be modules in the file's import statements, wherever in it they stand, each behind
    the packages that it is in."""
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            names = [f"{base}.{name}" for name in names]
        for name in names:
            yield from accumulate(name.split("."), "{}.{}".format)


def _files(top: Path, module: str) -> Iterator[Path]:
    """Where a module may stand in the folder `top`."""
    place = top.joinpath(*module.split("."))
    yield from (place.with_suffix(".py"), place / "__init__.py")


def _has_the_form(name: str) -> str:
    if not is_named(name):
        raise wrong(f"{name!r} names no code", "write module:name, of a file beside slmops.yaml")
    return name


Named = Annotated[str, AfterValidator(_has_the_form), WithJsonSchema({"type": "string", "pattern": f"^{_FORM}$"})]
