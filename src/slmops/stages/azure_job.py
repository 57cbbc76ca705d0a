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
from slmops.stages.base_models import base_model, references_of
from slmops.stages.project import CHOICES_FILE, Command, Project

EXTRA = "azureml"
OUTPUT = "made"  # the job's output: whatever was made, even where a gate fell short

_SCHEMA = "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json"
_IMAGE = "mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04"
_STORE = "export SLMOPS_STORE=$PWD/.slmops/store"  # whatever the environment says
_OF_DATASETS = ("dataset_dict.json", "state.json", "dataset_info.json")
_KEPT = ".slmops/choices.json .slmops/models.json .slmops/store/artifacts/*.json .slmops/store/files"


@dataclass(frozen=True)
class Job:
    """A job as it was written: its file, the files that go with it relative to the project's folder, and the hash of
    all of them."""

    file: Path
    sent: tuple[str, ...]
    digest: str


def write_job(project: Project, command: Command = "run") -> Job:
    """Writes job and code into .slmops/azureml/, and holds the job against the schema of azure-ai-ml.

    Raises:
        ConfigError: the project needs what cannot be sent: a file that is not in its folder, a model of a store, a key;
            or its rows are to be masked first.
        MissingExtraError: azure-ai-ml is not installed.
    """
    _refuse_what_stays(project)
    folder = project.state / "azureml" / "sent"
    files = {path: project.root / path for path in _files(project)}
    if (probed := project.state / "azureml" / CHOICES_FILE).is_file():  # what Azure's machine was found good at
        files[f".slmops/{CHOICES_FILE}"] = probed
    shutil.rmtree(folder, ignore_errors=True)
    with folder_written_whole(folder) as written:
        for path, source in files.items():
            target = written / "code" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        yaml = YAML()
        yaml.width = 10_000  # the command stays one line
        with (written / "job.yml").open("w", encoding="utf-8") as stream:
            yaml.dump(_job(project, command), stream)
    file = folder / "job.yml"
    _check(file)
    digests = {path: hash_file(source).sha256 for path, source in files.items()}
    return Job(file, tuple(files), hash_json([hash_file(file).sha256, digests]))


def _refuse_what_stays(project: Project) -> None:
    if project.data.privacy.kinds():
        what = "rows are masked as they are read, which would be in Azure"
        raise project.error("data.privacy", what, "mask the files before (slmops data mask), and remove privacy")
    if not project.engine.environment and any(teacher.api_key_env for teacher in project.endpoints.values()):
        what = "a key is never part of a job, which everyone in the workspace can read"
        raise project.error("teacher.api_key_env", what, "set the variable in an environment, and name it in engine")


def _check(file: Path) -> None:
    """The package reads the job by its own schema."""
    load_job = need("azure.ai.ml", EXTRA).load_job
    try:
        load_job(file)
    except Exception as error:  # it raises marshmallow's, its own and others'
        what = f"azure-ai-ml {version('azure-ai-ml')} does not take this job: {' '.join(str(error).split())[:500]}"
        raise ConfigError(what, where=str(file), remedy="correct the section engine") from error


def _job(project: Project, command: Command) -> dict[str, Any]:
    engine = project.engine
    words = ["slmops", command, "--here", "--config", project.path.name]
    words += ["--variant", project.variant] if project.variant else []
    if engine.workers > 1:
        words = ["torchrun", "--standalone", "--nproc-per-node", str(engine.workers), "--no-python", *words]
    extras = "all,tracking" if project.tracking.to else "all"
    packages = f"slmops[{extras}]=={version('slmops')}"
    conda = {"channels": ["conda-forge"], "dependencies": ["python=3.11", "pip", {"pip": [packages]}]}
    return {
        "$schema": _SCHEMA,
        "type": "command",
        "display_name": project.name,
        "experiment_name": re.sub(r"[^\w-]", "-", project.name),
        "compute": f"azureml:{engine.compute}",
        "code": "code",
        "environment": engine.environment or {"image": _IMAGE, "conda_file": conda},
        "command": f"{_STORE}; {shlex.join(words)}; status=$?; "
        f"cp -r {_KEPT} ${{{{outputs.{OUTPUT}}}}} || status=$((status ? status : 1)); exit $status",
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
                yield from (_inside(project, one, f"data.{role}") for one in _beside(project, file))
    if isinstance(project.task.schema_, Path):
        yield _inside(project, project.task.schema_, "task.schema")
    for where, reference in references_of(project):
        if reference.startswith("store:"):
            raise project.error(where, "the store of this machine is not in Azure", "name a folder beside slmops.yaml")
        if reference.startswith("file:") or (project.root / reference).is_dir():
            for file in sorted(base_model(project, reference).folder.rglob("*")):
                if file.is_file():
                    yield _inside(project, file, where)
    if project.own_code():
        for file in sorted(project.root.rglob("*.py")):
            parts = file.relative_to(project.root).parts
            hidden = any(part.startswith(".") for part in parts)
            if not hidden and not any((parent / "pyvenv.cfg").is_file() for parent in file.parents):
                yield _inside(project, file, "task")
    for section in ("task", "data", "teacher", "student", "variants"):
        for text in _texts(load_yaml(project.path).data.get(section)):
            if re.match(r"(file:)?(/|~)[\w./-]+$", text):
                raise project.error(section, f"{text} is a path of this machine only", "write it relative")


def _beside(project: Project, file: Path) -> Iterator[Path]:
    """What says that a folder is one of Hugging Face's `datasets`, and which split a file is of."""
    for folder in (file.parent, file.parent.parent):
        if folder != project.root:
            yield from (folder / name for name in _OF_DATASETS if (folder / name).is_file())


def _inside(project: Project, file: Path, where: str) -> str:
    """The path of a file relative to the project's folder."""
    root = project.root.resolve()
    if not file.resolve().is_relative_to(root):
        remedy = "copy it into the folder of slmops.yaml, which is all that Azure gets"
        raise project.error(where, f"{file} lies outside the project's folder", remedy)
    return (file.parent.resolve() / file.name).relative_to(root).as_posix()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
