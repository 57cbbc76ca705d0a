"""A project's student made again in another way, or with another seed: all before it first learns is made once, with
the project's own, but for weights that are drawn.

What is made stands in the project's store under another name, so that the project's own artifacts stay the latest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slmops.core import pipeline
from slmops.core.measurement import ArtifactId
from slmops.core.pipeline import Stage
from slmops.core.store import Store
from slmops.evaluation.benchmark import Subject, benchmark
from slmops.evaluation.compare import parse_all
from slmops.stages.assemble import assemble
from slmops.stages.before import Progress
from slmops.stages.parts import read_part, read_task, read_task_spec
from slmops.stages.project import Project
from slmops.stages.run import choices
from slmops.tasks.types import Json


def check_made_alike(project: Project, what: str) -> None:
    """That students made in several ways for `what` are made alike but for what tells these apart.

    Raises:
        ConfigError: they would not be.
    """
    if project.student.train.search:
        why = "a search would train another student in each way"
        raise project.error("student.train.search", why, "write what it found, and remove search")
    if project.engine.workers > 1:
        raise project.error("engine.workers", f"{what} is found by one process", "write engine: local")


def make_seeded(
    project: Project, until: str, store: Store, seed: int, *, what: str, told: str, progress: Progress
) -> ArtifactId:
    """What the stage `until` makes for `what`, a verdict, say: artifacts are called after it, as is the folder that
    keeps where it is. `told` is which student it is."""

    def report(stage: str, share: float, note: str) -> None:
        progress(f"{told}: {stage}", share, note)

    name, folder = name_for(project, what), project.state / what
    begins = ("student", "pruned") if project.student.from_scratch else ("student",)  # where chance comes in
    stages = [_seeded(stage, seed) if stage.name.startswith(begins) else stage for stage in assemble(project)]
    frozen = choices(project)
    folder.mkdir(parents=True, exist_ok=True)
    planned = pipeline.plan(stages, store, folder, name, frozen, until=until)
    made = list(pipeline.run(planned, store, folder, name, frozen, seed=seed, progress=report))
    return next(step.manifest.id for step in made if step.stage.name == until)


def answers_to_test(project: Project, dataset: Path, subjects: Sequence[Subject]) -> dict[str, list[Json | None]]:
    """What each model, all asked together, answers to the test of `dataset`; None where that is no answer."""
    task, test, threads = read_task(dataset), read_part(dataset, "test"), choices(project)["threads"]
    done = benchmark(subjects, test, test[:3], task=read_task_spec(dataset), threads=threads, timed=0)
    return {one.name: parse_all(task, one.texts) for one in done}


def name_for(project: Project, what: str) -> str:
    """Under which what is made for `what` is the latest: the project's own stays what it is."""
    return f"{project.name}-{what}"


def _seeded(stage: Stage, seed: int) -> Stage:
    return replace(stage, section=stage.section | {"seed": seed})
