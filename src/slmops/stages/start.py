"""Starts a project: a slmops.yaml to fill in, and the schema that lets an editor check it."""

from __future__ import annotations

import json
from pathlib import Path

from slmops.core.errors import ConfigError
from slmops.core.files import write_whole
from slmops.stages.project import json_schema, project_name, starter_yaml


def init(folder: Path, name: str | None = None) -> Path:
    """Writes slmops.yaml into `folder`; never over one that is there."""
    path = folder / "slmops.yaml"
    if path.exists():
        raise ConfigError("is there already", where=str(path), remedy="edit it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".slmops").mkdir(exist_ok=True)
    write_whole(folder / ".slmops" / "schema.json", json.dumps(json_schema(), indent=2) + "\n")
    hint = "# yaml-language-server: $schema=.slmops/schema.json\n"
    write_whole(path, hint + starter_yaml(name or project_name(folder.resolve().name)))
    return path
