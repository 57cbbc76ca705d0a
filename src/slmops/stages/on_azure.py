"""`engine: azureml`: the project runs as a job of Azure Machine Learning, and what it made comes back into the store.

The job is written and checked by stages/azure_job.py. It is submitted once: a run that is killed, or interrupted, goes
on following it. What comes back is believed as far as its digests say (core/adopt.py), and then the run is what it
would have been here: everything is made already, gates are checked, the report is written.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from slmops.core.adopt import adopt
from slmops.core.errors import SlmopsError, StoreError, need
from slmops.core.files import lock, write_whole
from slmops.core.measurement import Interval
from slmops.models.folder import read_json
from slmops.stages.azure_job import EXTRA, OUTPUT, Job, write_job
from slmops.stages.base_models import remember_models
from slmops.stages.before import Progress
from slmops.stages.engine import follows
from slmops.stages.evidence import gate_figures
from slmops.stages.project import CHOICES_FILE, MODELS_FILE, Command, Project
from slmops.stages.run import Outcome, figures_of, open_store, plan, run

_ENDED = ("Completed", "Failed", "Canceled")
_STUCK = ("NotResponding", "Paused")
_FIRST_LOOK_S, _LAST_LOOK_S = 1.0, 30.0  # how long after one look at the job's status the next one comes


@dataclass(frozen=True)
class Submitted:
    """A job in Azure: its name, its page in the studio, and whether what it made was taken over, or refused."""

    name: str
    page: str = ""
    fetched: bool = False


def run_on_azure(
    project: Project,
    *,
    command: Command = "run",
    progress: Progress = lambda stage, share, note: None,
) -> Outcome:
    """What `run` returns here, after Azure has made what is lacking. A bundle for devices is made here, in seconds.

    Raises:
        MissedGates: a figure fell short.
        SlmopsError: the job failed or was cancelled, Azure cannot be reached, or what came back is not what was asked.
    """
    if follows():
        raise SlmopsError("torchrun is not for what Azure runs", where="engine", remedy="start one process, or --here")
    until = project.until(command)
    if not (project.state / CHOICES_FILE).is_file() or _lacking(project, until):
        with lock(project.state / "azureml" / "lock"), _azure_explained():
            _bring(project, write_job(project, command), progress)
        if lacking := _lacking(project, until):
            raise SlmopsError(
                f"the job did not make {', '.join(lacking)} as configured", where="engine", remedy="look at its log"
            )
    return run(project, until=until, progress=progress)


def against_baseline(project: Project, outcome: Outcome) -> list[tuple[str, Interval, Interval]]:
    """(figure, what ships, the student before it learned) of quality, speed and size, as the job measured them."""
    evidence = next((made.manifest for made in outcome.made if made.stage.name == "evidence"), None)
    if evidence is None or "untrained" not in project.subjects():
        return []
    figures = figures_of(evidence)
    shipped, untrained = (gate_figures(figures, name) for name in (project.shipped(), "untrained"))
    return [(name, value, untrained[name]) for name, value in shipped.items() if name in untrained]


def _lacking(project: Project, until: str | None) -> list[str]:
    """What the job is to make: a bundle comes after the gates, which are checked here, too."""
    return [item.stage.name for item in plan(project, until=until) if item.runs and item.stage.name != "bundle"]


def _bring(project: Project, job: Job, progress: Progress) -> None:
    """Submits the job unless it was, waits for its end, and takes over what it made."""
    client, record = _client(project), project.state / "azureml" / "jobs" / f"{job.digest[:16]}.json"
    submitted = _under_way(client, record) or _submit(client, record, job)
    status = _follow(client, submitted, progress)
    progress("azureml", 0.9, f"fetching what {submitted.name} made")
    folder = project.state / "azureml" / "fetched"
    shutil.rmtree(folder, ignore_errors=True)
    client.jobs.download(submitted.name, download_path=folder, output_name=OUTPUT)
    fetched = partial(_write, record, replace(submitted, fetched=True))
    try:
        taken = _take_over(project, folder / "named-outputs" / OUTPUT)
    except StoreError:  # what was made is refused: the same would come again
        fetched()
        raise
    fetched()  # not before: killed, or for lack of room, nothing is paid twice
    shutil.rmtree(folder, ignore_errors=True)
    if status != "Completed" and "evidence" not in taken:  # with it, gates tell what fell short
        made = f"it made {', '.join(taken)}" if taken else "it made nothing"
        raise SlmopsError(
            f"the job {submitted.name} ended as {status}; {made}", where="engine", remedy=f"its log: {submitted.page}"
        )


def _under_way(client: Any, record: Path) -> Submitted | None:
    """The job that was submitted with the same content and whose output was not fetched yet, if there is one."""
    submitted = Submitted(**json.loads(record.read_text("utf-8"))) if record.is_file() else None
    if submitted is None or submitted.fetched:
        return None
    missing = need("azure.core.exceptions", EXTRA).ResourceNotFoundError
    try:
        _status(client, submitted.name)
    except missing:  # killed between writing the record and submitting
        return None
    return submitted


def _submit(client: Any, record: Path, job: Job) -> Submitted:
    described = need("azure.ai.ml", EXTRA).load_job(job.file)
    described.name = f"{described.experiment_name}-{uuid.uuid4().hex[:12]}".lower()
    _write(record, Submitted(described.name))
    created = client.jobs.create_or_update(described)
    submitted = Submitted(created.name, str(created.studio_url or ""))
    _write(record, submitted)
    return submitted


def _write(record: Path, submitted: Submitted) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    write_whole(record, json.dumps(asdict(submitted)))


def _follow(client: Any, submitted: Submitted, progress: Progress) -> str:
    """Waits until the job has ended; returns how."""
    wait, begun = _FIRST_LOOK_S, time.monotonic()
    while (status := _status(client, submitted.name)) not in _ENDED:
        if status in _STUCK:
            what = f"the job {submitted.name} is {status}; the same command follows it again"
            raise SlmopsError(what, where="engine", remedy=f"look at it: {submitted.page}")
        minutes = (time.monotonic() - begun) / 60
        progress("azureml", 0.1, f"{submitted.name}: {status}, {minutes:.0f} min · {submitted.page}")
        time.sleep(wait)
        wait = min(wait * 1.5, _LAST_LOOK_S)
    return status


def _status(client: Any, name: str) -> str:
    status = client.jobs.get(name).status
    return str(getattr(status, "value", status))  # some of the package's are members of an enum


def _take_over(project: Project, folder: Path) -> list[str]:
    """The stages whose artifacts came back; what was probed and fetched there decides their keys, so it is kept."""
    adopted = adopt(open_store(project), folder, project.name) if folder.is_dir() else []
    if adopted:
        choices, models = (_read_mapping(folder / name) for name in (CHOICES_FILE, MODELS_FILE))
        remember_models(project, models)
        for place in (project.state, project.state / "azureml"):  # the next job goes on with them
            write_whole(place / CHOICES_FILE, json.dumps(choices, indent=2) + "\n")
    return [manifest.kind for manifest in adopted]


def _read_mapping(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.is_file() else None
    if not isinstance(found, dict):
        raise StoreError("is not there, or no mapping", where=str(path), remedy="run again: another job is submitted")
    return found


def _client(project: Project) -> Any:
    ml, identity = need("azure.ai.ml", EXTRA), need("azure.identity", EXTRA)
    engine, credential = project.engine, identity.DefaultAzureCredential()
    options = {"show_progress": False, "enable_telemetry": False}
    if engine.workspace:
        return ml.MLClient(credential, engine.subscription, engine.resource_group, engine.workspace, **options)
    return ml.MLClient.from_config(credential, path=project.root, **options)


@contextmanager
def _azure_explained() -> Iterator[None]:
    """Errors of Azure's packages as ours, in one line."""
    core, ml = need("azure.core.exceptions", EXTRA), need("azure.ai.ml.exceptions", EXTRA)
    try:
        yield
    except core.ClientAuthenticationError as error:
        remedy = "az login, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET"
        raise SlmopsError("Azure does not know who asks", where="engine", remedy=remedy) from error
    except (core.AzureError, ml.MlException) as error:
        what = " ".join(str(error).split())[:400] or type(error).__name__
        raise SlmopsError(f"Azure: {what}", where="engine", remedy="check engine's names, and the network") from error
