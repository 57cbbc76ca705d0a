"""Where a training computes: in this process alone, or in several, which torchrun, accelerate or Ray started.

The process that runs the project is the first worker: it plans, asks, tells and writes. The others follow it: they get
each training as it did, compute their share and keep nothing. Knows no model.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, model_validator

from slmops.core.config import Section, wrong
from slmops.core.errors import SlmopsError, need
from slmops.training.parallel import Workers

Learned = TypeVar("Learned")
Follow = Callable[[], object]  # a training as other workers compute it; it is sent to them, pickled
_AZURE_NAME = r"^\w[\w.() -]{0,89}$"
_WORKSPACE = ("subscription", "resource_group", "workspace")
_AZURE = {"compute", "environment", *_WORKSPACE}
_PATIENCE = timedelta(days=7)  # between two trainings whatever else a run does may take its time


class EngineConfig(Section):
    """Where trainings compute, and in how many processes."""

    main: ClassVar[str] = "type"

    type: Literal["local", "ray", "azureml"] = Field(
        default="local",
        description="local (this process, or those that torchrun started with it), ray, or azureml (a job of Azure "
        "Machine Learning runs the whole project)",
    )
    workers: int = Field(default=1, ge=1, le=1024, description="how many processes share a training")
    address: str = Field(default="auto", description="the Ray cluster; local starts one on this machine (ray)")
    compute: str | None = Field(
        default=None, pattern=_AZURE_NAME, description="the cluster or instance that runs the job (azureml)"
    )
    subscription: str | None = Field(
        default=None, pattern=_AZURE_NAME, description="the id of the subscription that the workspace is in (azureml)"
    )
    resource_group: str | None = Field(
        default=None, pattern=_AZURE_NAME, description="the resource group that the workspace is in (azureml)"
    )
    workspace: str | None = Field(
        default=None,
        pattern=_AZURE_NAME,
        description="the workspace; without one that of config.json, as Azure's own tools read it (azureml)",
    )
    environment: str | None = Field(
        default=None,
        pattern=r"^azureml:[\w.:@/-]+$",
        description="an environment with slmops, azureml:name:version; without one it is built from PyPI (azureml)",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> EngineConfig:
        if "address" in self.model_fields_set and self.type != "ray":
            raise wrong(f"address is that of a Ray cluster, but the type is {self.type}", "write type: ray")
        if self.type == "ray" and self.workers == 1:
            raise wrong("one worker needs no Ray", "write engine: {type: ray, workers: 2}")
        if self.type == "azureml" and self.compute is None:
            raise wrong("what is to run the job is not said", "write compute: NAME; `az ml compute list` tells names")
        if self.type != "azureml" and (idle := sorted(_AZURE & self.model_fields_set)):
            raise wrong(f"{idle[0]} is for Azure ML, but the type is {self.type}", "write type: azureml")
        given = [name for name in _WORKSPACE if getattr(self, name)]
        if given and len(given) < len(_WORKSPACE):
            lacking = ", ".join(name for name in _WORKSPACE if name not in given)
            raise wrong(f"{given[0]} alone names no workspace", f"add {lacking}, or write none of them")
        return self

    def content(self) -> dict[str, Any]:
        """What decides the bits of what is learned: sums over several workers round in another order."""
        return {"workers": self.workers} if self.workers > 1 else {}


def follows() -> bool:
    """Whether torchrun or accelerate started this process beside the one that runs the project."""
    return os.environ.get("RANK", "0") != "0"


def lead() -> None:
    """Joins the processes that were started beside this one, if any were."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        need("torch", "train").distributed.init_process_group("gloo", timeout=_PATIENCE)


def dismiss() -> None:
    """Lets those that follow end."""
    if Workers.joined().count > 1:
        distributed = need("torch", "train").distributed
        distributed.broadcast_object_list([None])
        distributed.destroy_process_group()


def follow() -> None:
    """Computes its share of whatever the first worker trains, until it is dismissed."""
    lead()
    distributed = need("torch", "train").distributed
    while True:
        box: list[Follow | None] = [None]
        distributed.broadcast_object_list(box)
        if box[0] is None:
            distributed.destroy_process_group()
            return
        box[0]()


def together(
    engine: EngineConfig, learn: Callable[[], Learned], follow: Follow, threads: int, say: Callable[[str], None]
) -> Learned:
    """What `learn` returns, while every other worker does `follow`.

    Raises:
        SlmopsError: there are not as many workers as the project asks for.
    """
    if engine.type == "ray" and engine.workers > 1:
        from slmops.stages.on_ray import learn_on_ray

        return learn_on_ray(engine, learn, follow, threads, say)
    if (count := Workers.joined().count) != engine.workers:
        here = " --here" if engine.type == "azureml" else ""
        start = f"torchrun --nproc-per-node {engine.workers} --no-python slmops run{here}"
        raise SlmopsError(
            f"there are to be {engine.workers} workers, and {count} were started",
            where="engine.workers",
            remedy=f"start them: {start}" if engine.workers > 1 else f"write engine: {{workers: {count}}}",
        )
    if count > 1:
        need("torch", "train").distributed.broadcast_object_list([follow])
    return learn()
