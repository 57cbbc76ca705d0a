"""Starts a project: a slmops.yaml to fill in, or one made from a job, and the schema that lets an editor check it."""

from __future__ import annotations

import json
from pathlib import Path

from slmops.core.errors import ConfigError
from slmops.core.files import write_whole
from slmops.stages.guide_job import config_of, read_job
from slmops.stages.project import Project, json_schema, project_name, starter_yaml


def init(folder: Path, name: str | None = None, job: Path | None = None) -> tuple[Path, tuple[str, ...]]:
    """Writes slmops.yaml into `folder`, never over one that is there; returns it, and what is left to fill in. `job`
    is a distillation job as guides to Azure ML write it.

    Raises:
        ConfigError: there is one already, or the job cannot be one of ours.
    """
    path = folder / "slmops.yaml"
    if path.exists():
        raise ConfigError("is there already", where=str(path), remedy="edit it, or choose another folder")
    text, left = config_of(read_job(job), job.name, name) if job else (_starter(folder, name), ())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".slmops").mkdir(exist_ok=True)
    write_whole(folder / ".slmops" / "schema.json", json.dumps(json_schema(), indent=2) + "\n")
    hint = "# yaml-language-server: $schema=.slmops/schema.json\n"
    write_whole(path, hint + text)
    try:
        Project.load(path)
    except ConfigError:
        path.unlink()
        raise
    return path, left


def _starter(folder: Path, name: str | None) -> str:
    return starter_yaml(name or project_name(folder.resolve().name))
