"""A project's student, trained with another seed: all before it first learns is made once, with the project's own,
but for weights that are drawn.

What is made stands in the project's store under another name, so that the project's own artifacts stay the latest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from slmops.core import pipeline
from slmops.core.measurement import ArtifactId
from slmops.core.pipeline import Stage
from slmops.core.store import Store
from slmops.stages.assemble import assemble
from slmops.stages.before import Progress
from slmops.stages.project import Project
from slmops.stages.run import choices


def make_seeded(
    project: Project, until: str, store: Store, seed: int, *, name: str, folder: Path, progress: Progress
) -> ArtifactId:
    """What the stage `until` makes; artifacts are called `name`, and `folder` keeps where it is."""
    begins = ("student", "pruned") if project.student.from_scratch else ("student",)  # where chance comes in
    stages = [_seeded(stage, seed) if stage.name.startswith(begins) else stage for stage in assemble(project)]
    frozen = choices(project)
    folder.mkdir(parents=True, exist_ok=True)
    planned = pipeline.plan(stages, store, folder, name, frozen, until=until)
    made = list(pipeline.run(planned, store, folder, name, frozen, seed=seed, progress=progress))
    return next(step.manifest.id for step in made if step.stage.name == until)


def _seeded(stage: Stage, seed: int) -> Stage:
    return replace(stage, section=stage.section | {"seed": seed})
