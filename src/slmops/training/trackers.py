"""The tools in which a training can be followed, each over its own library: TensorBoard, MLflow, Weights & Biases.

In come a run and the figures of its steps. Unless the config says so, nothing leaves the machine. Knows no model, no
trainer and no journal.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from slmops.core.errors import SlmopsError, need
from slmops.core.search import sqlite_url
from slmops.training.tracking_config import TrackingConfig

Parameter = str | int | float | bool
_MODULES = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
_QUIET = {  # what these libraries would tell their makers, and how long MLflow waits for a server: minutes, else
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "WANDB_ERROR_REPORTING": "false",
}


@dataclass(frozen=True)
class Run:
    """One training. `group` is its name; trials of a search share it."""

    config: TrackingConfig
    folder: Path
    project: str
    group: str
    trial: int | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.group if self.trial is None else f"{self.group}/trial-{self.trial}"


@dataclass(frozen=True)
class Row:
    """What is known of a step; `at_s` is when it was reached, since 1970."""

    step: int
    at_s: float
    figures: Mapping[str, float]


class Tracker(Protocol):
    """`known` is the step up to which it has everything; opened again over the same run, it goes on with that."""

    known: int

    def tell(self, row: Row) -> None: ...

    def close(self, finished: bool) -> None: ...


def check_trackers(config: TrackingConfig) -> None:
    """Sees that all are there, before anything is learned.

    Raises:
        SlmopsError: one is not installed, or lacks its key.
    """
    for name in config.to:
        _library(name)
    if "wandb" in config.to and config.wandb_mode == "online" and not os.environ.get("WANDB_API_KEY"):
        remedy = "export WANDB_API_KEY, or write wandb_mode: offline"
        raise SlmopsError("WANDB_API_KEY is not set", where="tracking.wandb_mode", remedy=remedy)


def open_tracker(name: str, run: Run) -> Tracker:
    run.folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, Callable[[Run], Tracker]] = {"tensorboard": _TensorBoard, "mlflow": _MLflow, "wandb": _WandB}
    return kinds[name](run)


def failures(name: str) -> tuple[type[Exception], ...]:
    """What a tracker raises where it, its disk or its server fails."""
    match name:
        case "mlflow":
            return OSError, need("mlflow.exceptions", "tracking").MlflowException
        case "wandb":
            return OSError, need("wandb.errors", "tracking").Error
    return (OSError,)


def _library(name: str) -> Any:
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    return need(_MODULES[name], "tracking")


class _TensorBoard:
    """A folder of event files for each run. It is told everything again: `purge_step` voids what older files say."""

    def __init__(self, run: Run) -> None:
        library = _library("tensorboard")
        self.known = 0
        self._writer = library.SummaryWriter(run.folder / "tensorboard" / run.name, purge_step=0)
        figures = {"loss": 0.0, "validation_loss": 0.0}  # the names of what the table of parameters shows
        *begin, self._end = library.summary.hparams(dict(run.parameters), figures)
        for summary in begin:
            self._writer.file_writer.add_summary(summary)

    def tell(self, row: Row) -> None:
        for name, value in row.figures.items():
            self._writer.add_scalar(name, value, row.step, row.at_s)
        self._writer.flush()

    def close(self, finished: bool) -> None:
        if finished:
            self._writer.file_writer.add_summary(self._end)
        self._writer.close()


class _MLflow:
    """A run in an experiment, found again by its name; trials stand below a run of their group's name."""

    def __init__(self, run: Run) -> None:
        library = _library("mlflow")
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of the database it makes
        self._client = library.MlflowClient(run.config.mlflow_uri or sqlite_url(run.folder / "mlflow.db"))
        name = run.config.project or run.project
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = experiment.experiment_id if experiment else self._client.create_experiment(name)
        self._parent = None if run.trial is None else self._run_called(run.group, {})
        self._id = self._run_called(run.name, {"mlflow.parentRunId": self._parent} if self._parent else {})
        entities = need("mlflow.entities", "tracking")
        self._metric = entities.Metric
        parameters = [entities.Param(name, str(value)) for name, value in run.parameters.items()]
        self._client.update_run(self._id, "RUNNING")
        self._client.log_batch(self._id, params=parameters)
        self.known = max((metric.step for metric in self._client.get_metric_history(self._id, "loss")), default=0)

    def tell(self, row: Row) -> None:
        at_ms = round(1000 * row.at_s)
        metrics = [self._metric(name, value, at_ms, row.step) for name, value in row.figures.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, finished: bool) -> None:
        for one in filter(None, (self._id, self._parent)):
            self._client.set_terminated(one, "FINISHED" if finished else "KILLED")

    def _run_called(self, name: str, tags: Mapping[str, str]) -> str:
        found = self._client.search_runs([self._experiment], f"attributes.run_name = '{name}'", max_results=1)
        run = found[0] if found else self._client.create_run(self._experiment, run_name=name, tags=tags)
        return str(run.info.run_id)


class _WandB:
    """A run with the same id each time. Offline, a kill cuts its file off anywhere, so that it is begun anew."""

    def __init__(self, run: Run) -> None:
        library, identity = _library("wandb"), run.name.replace("/", "-")
        for cut in (run.folder / "wandb").glob(f"offline-run-*-{identity}"):
            shutil.rmtree(cut, ignore_errors=True)
        self._run = library.init(
            project=run.config.project or run.project,
            group=run.group,
            name=run.name,
            id=identity,
            resume="allow",
            reinit="create_new",  # beside one that a callback may have
            dir=run.folder,
            mode=run.config.wandb_mode,
            config=dict(run.parameters),
            settings=library.Settings(
                silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True
            ),
        )
        self.known = self._run.starting_step - 1

    def tell(self, row: Row) -> None:
        self._run.log({**row.figures, "_timestamp": row.at_s}, step=row.step)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
