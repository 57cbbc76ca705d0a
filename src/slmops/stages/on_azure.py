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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmops.core.adopt import adopt
from slmops.core.errors import SlmopsError, StoreError, need
from slmops.core.files import lock, write_whole
from slmops.core.measurement import Interval
from slmops.stages.azure_job import EXTRA, OUTPUT, Job, write_job
from slmops.stages.evidence import gate_figures
from slmops.stages.project import CHOICES_FILE, MODELS_FILE, Command, Project
from slmops.stages.run import Outcome, Progress, figures_of, open_store, plan, run

_ENDED = ("Completed", "Failed", "Canceled")
_FIRST_LOOK_S, _LAST_LOOK_S = 1.0, 30.0  # how long after one look at the job's status the next one comes


@dataclass(frozen=True)
class Submitted:
    """A job in Azure: its name, its page in the studio, and what was sent."""

    name: str
    page: str
    digest: str


def run_on_azure(
    project: Project,
    *,
    command: Command = "run",
    variant: str | None = None,
    progress: Progress = lambda stage, share, note: None,
) -> Outcome:
    """What `run` returns here, after Azure has made what is lacking.

    Raises:
        GateError: a figure fell short.
        SlmopsError: the job failed or was cancelled, Azure cannot be reached, or what came back is not what was asked.
    """
    until = project.until(command)
    if not (project.state / CHOICES_FILE).is_file() or _lacking(project, until):
        with lock(project.state / "azureml" / "lock"), _azure_explained():
            _bring(project, write_job(project, command, variant), progress)
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
    return [item.stage.name for item in plan(project, until=until) if item.runs]


def _bring(project: Project, job: Job, progress: Progress) -> None:
    """Submits the job unless it runs already, waits for its end, and takes over what it made."""
    client = _client(project)
    record = project.state / "azureml" / "job.json"
    submitted = _running(client, record, job) or _submit(client, record, job)
    status = _follow(client, submitted, progress)
    progress("azureml", 0.9, f"fetching what {submitted.name} made")
    folder = project.state / "azureml" / "fetched"
    shutil.rmtree(folder, ignore_errors=True)
    client.jobs.download(submitted.name, download_path=folder, output_name=OUTPUT)
    taken = _take_over(project, folder / "named-outputs" / OUTPUT)
    shutil.rmtree(folder)
    if status != "Completed" and "evidence" not in taken:  # with it, gates tell what fell short
        made = f"it made {', '.join(taken)}" if taken else "it made nothing"
        raise SlmopsError(
            f"the job {submitted.name} ended as {status}; {made}", where="engine", remedy=f"its log: {submitted.page}"
        )


def _running(client: Any, record: Path, job: Job) -> Submitted | None:
    """The job that was submitted with the same content and has not failed, if there is one."""
    if not record.is_file():
        return None
    submitted = Submitted(**json.loads(record.read_text()))
    if submitted.digest != job.digest:
        return None
    missing = need("azure.core.exceptions", EXTRA).ResourceNotFoundError
    try:
        status = _status(client, submitted.name)
    except missing:  # killed between writing the record and submitting
        return None
    return None if status in _ENDED and status != "Completed" else submitted


def _submit(client: Any, record: Path, job: Job) -> Submitted:
    described = need("azure.ai.ml", EXTRA).load_job(job.file)
    described.name = f"{described.experiment_name}-{uuid.uuid4().hex[:12]}".lower()
    write_whole(record, json.dumps({"name": described.name, "page": "", "digest": job.digest}))
    created = client.jobs.create_or_update(described)
    submitted = Submitted(created.name, str(created.studio_url or ""), job.digest)
    write_whole(record, json.dumps(vars(submitted)))
    return submitted


def _follow(client: Any, submitted: Submitted, progress: Progress) -> str:
    """Waits until the job has ended; returns how."""
    wait, begun = _FIRST_LOOK_S, time.monotonic()
    while (status := _status(client, submitted.name)) not in _ENDED:
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
    if not folder.is_dir():
        return []
    adopted = adopt(open_store(project), folder, project.name)
    for name in (CHOICES_FILE, MODELS_FILE):
        if (folder / name).is_file():
            text = (folder / name).read_text()
            if not isinstance(json.loads(text), dict):
                raise StoreError("is no mapping", where=str(folder / name), remedy="fetch it again")
            write_whole(project.state / name, text)
    return [manifest.kind for manifest in adopted]


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
