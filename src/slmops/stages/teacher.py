"""`teacher`: the big model, taught the task by any method (or taken as it is), merged into one folder."""

from __future__ import annotations

from dataclasses import replace

from slmops.core.errors import need
from slmops.core.pipeline import Stage, Work
from slmops.models.forward import load_causal_lm
from slmops.stages.base_models import base_of_stage, folder_of, stored_base
from slmops.stages.estimates import training_estimate
from slmops.stages.learning import Lesson, code_of_training, learned, run_of, to_teach
from slmops.stages.parts import read_answered, read_task
from slmops.stages.project import Project
from slmops.stages.saved import save_model
from slmops.training.teacher_config import TeacherConfig


def teacher_stage(project: Project, name: str, teacher: TeacherConfig, identity: str | None) -> Stage:
    """`identity` decides the base model's content; None while it was never fetched."""
    config = teacher.train
    section = project.engine.content() | {
        "model": identity,
        "train": config.content() if config else None,
        "code": code_of_training(config) if config else [],
        "seed": project.seed,
    }
    section |= {"prompt": teacher.prompt} if teacher.prompt != "full" else {}
    estimate = training_estimate(project, name)
    if not folder_of(project, teacher.model):
        estimate = replace(estimate, minutes=estimate.minutes + 1)
    return Stage(
        name,
        9,
        {"dataset": "dataset"},
        section,
        lambda work: _make(project, name, teacher, work),
        estimate,
        ("number_format", "threads"),
        stored_base(project, teacher.model),
    )


def _make(project: Project, name: str, teacher: TeacherConfig, work: Work) -> None:
    need("torch", "train").set_num_threads(work.choices["threads"])
    base = base_of_stage(project, teacher.model, work)
    dataset, config, source = work.inputs["dataset"], teacher.train, base.folder
    if config:
        rows = read_answered(dataset, "train", read_task(dataset))
        source = to_teach(source, config, work)
        lesson = Lesson(source, rows, teacher.prompt, engine=project.engine)
        model = learned(lesson, config.lasting(len(rows)), work, run_of(project, name, work))
    else:
        model = load_causal_lm(source)
    save_model("teacher", model, source, work.out, dataset, teacher.prompt, base.licence)
