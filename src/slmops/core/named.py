"""Code of the user's own, named `module:name`: a task, a variation of texts, a loss, a metric, a callback.
Knows no room.

A module is imported only after whoever runs the user's own project has allowed its name: one that stands in a model's
card, or in an artifact of somebody else's, imports nothing.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import resolve_name
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from slmops.core.artifact import hash_json
from slmops.core.config import wrong
from slmops.core.errors import ConfigError, SlmopsError

_FORM = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"
_allowed: set[str] = set()
_folders: set[Path] = set()  # of projects


def is_named(name: str) -> bool:
    """Whether it has the form of a name of the user's own code."""
    return re.fullmatch(_FORM, name) is not None


def allow(name: str, beside: Path | None = None) -> None:
    """From now on `name` may be loaded, its module also from the folder `beside`: the user's own project names it."""
    if beside:
        _folders.add(beside)
        if str(beside) not in sys.path:
            sys.path.append(str(beside))  # not before libraries, which a file of the project may be called like
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
    except (Exception, SystemExit) as error:  # it may do anything while it is imported
        what = f"{name} ended while it was imported: {type(error).__name__}: {error}"
        raise ConfigError(
            what, where=where, remedy=f"mend {module.replace('.', '/')}.py; --debug shows where"
        ) from error


def call_named(name: str, where: str, function: Any, *given: Any) -> Any:
    """What `function`, loaded as `name`, returns.

    Raises:
        SlmopsError: it fails.
    """
    try:
        return function(*given)
    except Exception as error:
        raise SlmopsError(
            f"{name} raised {type(error).__name__}: {error}", where=where, remedy="mend it; --debug shows where"
        ) from error


def code_of(name: str, where: str) -> str:
    """What decides how it works: the hash of its module's file, and of those in the project that it imports."""
    load_named(name, where)
    module = name.partition(":")[0]
    file = sys.modules[module].__file__
    if not file:
        return ""
    own, top = Path(file), next((folder for folder in _folders if Path(file).is_relative_to(folder)), None)
    files = _imported(module, top) if top else {}
    hashes = {other: hashlib.sha256(path.read_bytes()).hexdigest() for other, path in {module: own, **files}.items()}
    return hash_json(hashes)


def _imported(module: str, top: Path) -> dict[str, Path]:
    """The files in `top` of a module, of the packages that it is in, and of all that they import, by name."""
    found: dict[str, Path] = {}
    waiting = list(_with_packages(module))
    while waiting:
        name = waiting.pop()
        place = top.joinpath(*name.split("."))
        file = next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)
        if file and name not in found:
            found[name] = file
            waiting += _imports(name, file)
    return found


def _imports(module: str, file: Path) -> Iterator[str]:
    """The full names of what may be modules in the file's import statements, wherever in it they stand."""
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # what another Python reads, behind a look at its version
        return
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            with suppress(ImportError):  # of a package where there is none, tried and given up
                base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
                names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            yield from _with_packages(name)


def _with_packages(module: str) -> Iterator[str]:
    return accumulate(module.split("."), "{}.{}".format)


def _has_the_form(name: str) -> str:
    if not is_named(name):
        raise wrong(f"{name!r} names no code", "write module:name, of a file beside slmops.yaml")
    return name


Named = Annotated[str, AfterValidator(_has_the_form), WithJsonSchema({"type": "string", "pattern": f"^{_FORM}$"})]
