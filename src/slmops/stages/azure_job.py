"""What Azure Machine Learning gets of a project: the files that it names, and a job that runs it on them.

In comes a project; out goes a folder: code/, which is uploaded as it is, and job.yml, which `az ml job create --file`
takes, too. Nothing is sent but slmops.yaml, what it names, and the Python files beside it where it names code. Knows no
network.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from slmops.core.artifact import hash_file, hash_json
from slmops.core.document import load_yaml
from slmops.core.errors import ConfigError, need
from slmops.core.files import folder_written_whole
from slmops.data.sources import HUB, find_rows
from slmops.stages.project import Command, Project

EXTRA = "azureml"
OUTPUT = "made"  # the job's output: whatever was made, even where a gate fell short

_SCHEMA = "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json"
_IMAGE = "mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04"
_KEPT = ".slmops/choices.json .slmops/models.json .slmops/store/artifacts/*.json .slmops/store/files"


@dataclass(frozen=True)
class Job:
    """A job as it was written: its file, the files that go with it relative to the project's folder, and the hash of
    all of them."""

    file: Path
    sent: tuple[str, ...]
    digest: str


def write_job(project: Project, command: Command = "run", variant: str | None = None) -> Job:
    """Writes job and code into .slmops/azureml/, and holds the job against the schema of azure-ai-ml.

    Raises:
        ConfigError: the project needs a file that is not in its folder, or a model of a store.
        MissingExtraError: azure-ai-ml is not installed.
    """
    folder = project.state / "azureml" / "sent"
    shutil.rmtree(folder, ignore_errors=True)
    paths = list(dict.fromkeys(_files(project)))
    with folder_written_whole(folder) as written:
        for path in paths:
            target = written / "code" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(project.root / path, target)
        with (written / "job.yml").open("w") as stream:
            YAML().dump(_job(project, command, variant), stream)
    file = folder / "job.yml"
    _check(file)
    digests = {path: hash_file(folder / "code" / path).sha256 for path in paths}
    return Job(file, tuple(paths), hash_json([hash_file(file).sha256, digests]))


def _check(file: Path) -> None:
    """The package reads the job by its own schema."""
    load_job = need("azure.ai.ml", EXTRA).load_job
    try:
        load_job(file)
    except Exception as error:  # it raises marshmallow's, its own and others'
        what = f"azure-ai-ml {version('azure-ai-ml')} does not take this job: {' '.join(str(error).split())[:500]}"
        raise ConfigError(what, where=str(file), remedy="correct the section engine") from error


def _job(project: Project, command: Command, variant: str | None) -> dict[str, Any]:
    engine = project.engine
    words = ["slmops", command, "--here", "--config", project.path.name]
    words += ["--variant", variant] if variant else []
    if engine.workers > 1:
        words = ["torchrun", "--standalone", "--nproc-per-node", str(engine.workers), "--no-python", *words]
    packages = f"slmops[all]=={version('slmops')}"
    conda = {"channels": ["conda-forge"], "dependencies": ["python=3.11", "pip", {"pip": [packages]}]}
    return {
        "$schema": _SCHEMA,
        "type": "command",
        "display_name": project.name,
        "experiment_name": re.sub(r"[^\w-]", "-", project.name),
        "compute": f"azureml:{engine.compute}",
        "code": "code",
        "environment": engine.environment or {"image": _IMAGE, "conda_file": conda},
        "command": f"{shlex.join(words)}; status=$?; cp -r {_KEPT} ${{{{outputs.{OUTPUT}}}}}; exit $status",
        "outputs": {OUTPUT: {"type": "uri_folder", "mode": "rw_mount"}},
    }


def _files(project: Project) -> Iterator[str]:
    """What goes with the job, relative to the project's folder."""
    yield project.path.name
    data = project.data
    roles = {"train": data.train, "test": data.test, "unlabelled": data.unlabelled, "validation": data.validation}
    for role, path in roles.items():
        if isinstance(path, Path) and not str(path).startswith(HUB):
            for file in find_rows(path).files:
                yield _inside(project, file, f"data.{role}")
    models = [("teacher", teacher.model) for teacher in project.teachers.values()]
    models += [("student.model", project.student.model)] if project.student.model else []
    for where, reference in models:
        if reference.startswith("store:"):
            raise project.error(where, "the store of this machine is not in Azure", "name a folder beside slmops.yaml")
        folder = project.root / reference.removeprefix("file:")
        if reference.startswith("file:") or folder.is_dir():
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    yield _inside(project, file, where)
    if project.own_code():
        for file in sorted(project.root.rglob("*.py")):
            path = file.relative_to(project.root)
            if not any(part.startswith(".") or (project.root / part / "pyvenv.cfg").is_file() for part in path.parts):
                yield path.as_posix()
    written = load_yaml(project.path).data
    for section in ("data", "teacher", "student"):
        for text in _texts(written.get(section)):
            if text.removeprefix("file:").startswith(("/", "~")):
                raise project.error(section, f"{text} is a path of this machine only", "write it relative")


def _inside(project: Project, file: Path, where: str) -> str:
    """The path of a file relative to the project's folder."""
    if not file.resolve().is_relative_to(project.root.resolve()):
        remedy = "copy it into the folder of slmops.yaml, which is all that Azure gets"
        raise project.error(where, f"{file} lies outside the project's folder", remedy)
    return file.relative_to(project.root).as_posix()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
