"""Code of the user's own, named `module:name`: a task, a loss, a metric, a callback. Knows no room.

A module is imported only after whoever runs the user's own project has allowed its name: one that stands in a model's
card, or in an artifact of somebody else's, imports nothing.
"""

from __future__ import annotations

import hashlib
import re
import sys
from importlib import import_module
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
    """What decides how it works: the hash of its module's file."""
    load_named(name, where)
    file = sys.modules[name.partition(":")[0]].__file__
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def _has_the_form(name: str) -> str:
    if not is_named(name):
        raise wrong(f"{name!r} names no code", "write module:name, of a file beside slmops.yaml")
    return name


Named = Annotated[str, AfterValidator(_has_the_form), WithJsonSchema({"type": "string", "pattern": f"^{_FORM}$"})]
