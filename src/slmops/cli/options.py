"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from slmops.core.store import Store
    from slmops.stages.project import Project

Config = Annotated[Path, typer.Option("--config", "-c", help="The project's file.")]
Variant = Annotated[str | None, typer.Option("--variant", help="One of the file's variants.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="0: as many as cores, or fewer by OMP_NUM_THREADS.")]
Force = Annotated[bool, typer.Option("--force", help="Try even what an estimate says there is no room for.")]
Fields = Annotated[
    list[str] | None, typer.Option("--field", metavar="PART=COLUMN", help="Which column is which part: text=body, …")
]
CONFIG = Path("slmops.yaml")


def load(config: Path, variant: str | None = None) -> Project:
    from slmops.stages.project import Project

    return Project.load(config, variant)


def open_store(config: Path) -> Store:
    """The store of the project, or $SLMOPS_STORE where there is no project."""
    import os

    from slmops.core.errors import ConfigError
    from slmops.core.store import Store

    if root := os.environ.get("SLMOPS_STORE"):
        return Store(Path(root))
    if not config.is_file():
        raise ConfigError(
            "there is no such file", where=str(config), remedy="go to a project's folder, or set SLMOPS_STORE"
        )
    return Store(state_of(config) / "store")


def state_of(config: Path) -> Path:
    """Where the project of `config` keeps what it makes: beside the file as it is named, be it a link to another."""
    import os

    return Path(os.path.abspath(config)).parent / ".slmops"


def store_if_any(config: Path) -> Store | None:
    """The store, where there is one to look in."""
    import os

    return open_store(config) if config.is_file() or os.environ.get("SLMOPS_STORE") else None


def project_if_any(config: Path) -> Project | None:
    """The project, where there is one: what code of its own it names may be loaded from now on. What came with a model
    is none: its code would run because it was asked."""
    of_a_model = any((config.parent / name).is_file() for name in ("config.json", "genai_config.json", "slmops.json"))
    return load(config) if config.is_file() and not of_a_model else None


def parse_fields(named: list[str] | None) -> dict[str, str]:
    """Part → column of `PART=COLUMN`."""
    return parse_pairs(named, "--field", "PART=COLUMN")


def parse_pairs(named: list[str] | None, option: str, form: str) -> dict[str, str]:
    """What stands before and after the `=` of each.

    Raises:
        ConfigError: one has another form, or a name is given twice.
    """
    from slmops.core.errors import ConfigError

    pairs: dict[str, str] = {}
    for one in named or ():
        name, equals, value = one.partition("=")
        if not (name and equals and value):
            raise ConfigError(f"found {one!r}, expected {form}", where=option, remedy=f"write {option} {form}")
        if name in pairs:
            raise ConfigError(f"{name} is given twice", where=option, remedy="rename one of the two")
        pairs[name] = value
    return pairs
