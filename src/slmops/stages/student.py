"""`student`: the small model, taught by the teacher's cached distributions; or on gold, and on the
teacher's answers where there is one and only they are matched."""

from __future__ import annotations

from functools import partial
from typing import Any

from slmops.core.errors import need
from slmops.core.pipeline import Stage, Work
from slmops.optimization.config import OptimizationConfig
from slmops.optimization.int4 import round_to_int4
from slmops.optimization.vocabulary import heard_tokens, read_kept
from slmops.stages.estimates import training_estimate
from slmops.stages.learning import Lesson, code_of_training, learned, run_of, to_teach
from slmops.stages.parts import read_answered, read_task
from slmops.stages.project import Project
from slmops.stages.pruned import name_of_round
from slmops.stages.saved import save_model
from slmops.stages.targets import accepted, read_answers
from slmops.stages.teacher_beside import TeacherBeside, check_same_tokens
from slmops.training.distillation_config import LossWeights
from slmops.training.targets import kept_tokens


def student_stage(project: Project, number: int) -> Stage:
    """The student of a round, counted from 1: that of the last one is left in the end."""
    project, last = _for_a_round(project, number), number == project.student.rounds
    shipped = shipped_int4(project)
    inputs = {"dataset": "dataset", "pruned": "pruned" if number == 1 else f"pruned_{number}"}
    section: dict[str, Any] = project.engine.content() | {
        "train": project.student.train.model_dump(),
        "code": code_of_training(project.student.train),
        "prompt": project.student.prompt,
        "rounding": shipped.block_size if shipped else None,
        "seed": project.seed,
    }
    section |= {"round": number} if project.student.rounds > 1 else {}
    if project.caches_targets:
        inputs["targets"] = "targets"
        section["loss"] = project.distillation.loss.model_dump()
        if project.has_teacher_beside:
            inputs["teacher"] = "teacher"
            section["beside"] = project.distillation.model_dump(exclude={"loss", "match", "classical"})
    elif project.teacher:
        inputs["labels"] = "labels"
    return Stage(
        "student" if last else name_of_round(number),
        11,
        inputs,
        section,
        lambda work: _make(project, work, number - 1),
        training_estimate(project, "student", rounded=shipped is not None, number=number),
        ("number_format", "threads"),
    )


def _for_a_round(project: Project, number: int) -> Project:
    """The project with a round's share of the student's epochs; only the last one learns to be rounded."""
    student, train = project.student, project.student.train
    if student.rounds == 1:
        return project
    share: dict[str, float] = {"epochs": train.epochs / student.rounds}
    share |= {} if number == student.rounds else {"quantization_aware": 0.0}
    train = train.model_copy(update=share)
    return project.model_copy(update={"student": student.model_copy(update={"train": train})})


def shipped_int4(project: Project) -> OptimizationConfig | None:
    """The int4 that ships, if the student can learn under its rounding."""
    shipped, config = project.optimization[-1] if project.optimization else None, project.student.train
    aware = config.quantization_aware or config.search
    return shipped if aware and shipped and shipped.precision == "int4" and shipped.symmetric else None


def _make(project: Project, work: Work, before: int) -> None:
    """`before` says how many rounds there were already: each has an order of rows of its own."""
    need("torch", "train").set_num_threads(work.choices["threads"])
    dataset, source = work.inputs["dataset"], to_teach(work.inputs["pruned"], project.student.train, work)
    work.licence, task = work.parent_licences["pruned"], read_task(dataset)
    if "targets" in work.inputs:
        rows = read_answers(work.inputs["targets"])
        loss = project.distillation.loss
    else:
        rows = read_answered(dataset, "train", task)
        if "labels" in work.inputs:
            known = {record.text for record, _ in rows}
            rows += [(record, record.answers[-1].text) for record in accepted(work.inputs["labels"], known)]
        loss = LossWeights(cross_entropy=1)
    shipped = shipped_int4(project)
    rounding = partial(round_to_int4, block_size=shipped.block_size) if shipped else None
    lesson = Lesson(
        source,
        rows,
        project.student.prompt,
        loss,
        targets=work.inputs.get("targets"),
        taught=project.teacher is not None,
        rounding=rounding,
        engine=project.engine,
        beside=_teacher_beside(project, work) if "teacher" in work.inputs else None,
        before=before,
    )
    model = learned(lesson, project.student.train, work, run_of(project, "student", work))
    save_model("student", model, source, work.out, dataset, project.student.prompt, work.licence)


def _teacher_beside(project: Project, work: Work) -> TeacherBeside:
    distillation, teacher, pruned = project.distillation, work.inputs["teacher"], work.inputs["pruned"]
    if read_kept(pruned) is None:
        check_same_tokens(project, pruned, teacher)
    k = kept_tokens(work.inputs["targets"]) if distillation.on_policy else 0
    return TeacherBeside(teacher, project.prompt_of("teacher"), distillation, k, heard_tokens(pruned, teacher))
