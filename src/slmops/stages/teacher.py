"""`teacher`: the big model, taught the task with low-rank adapters (or taken as it is), merged into one folder."""

from __future__ import annotations

from slmops.core.errors import need
from slmops.core.pipeline import Estimate, Stage, Work
from slmops.data.augment import noisy_copies
from slmops.models.forward import load_causal_lm
from slmops.models.references import Model, find_cached, resolve
from slmops.models.tokenizer import Tokenizer
from slmops.stages.estimates import training_minutes
from slmops.stages.parts import answer_begins, answered_examples, read_answered, read_task, save_model, text_of
from slmops.stages.project import Project
from slmops.training.curve import write_curve
from slmops.training.losses import mix
from slmops.training.methods import merge, prepare
from slmops.training.trainer import train


def teacher_stage(project: Project, identity: str | None) -> Stage:
    """`identity` decides the base model's content; None while it was never fetched."""
    assert project.teacher is not None
    config = project.teacher.train
    section = {"model": identity, "train": config.model_dump() if config else None, "seed": project.seed}
    minutes = training_minutes(project, "teacher")
    estimate = Estimate(minutes + (0.0 if find_cached(project.teacher.model) else 1.0), 545)
    return Stage(
        "teacher",
        4,
        {"dataset": "dataset"},
        section,
        lambda work: _make(project, work),
        estimate,
        ("number_format", "threads"),
    )


def base_model(project: Project, reference: str, work: Work) -> Model:
    return resolve(reference, base=project.root, say=lambda text: work.progress(0.0, text))


def _make(project: Project, work: Work) -> None:
    assert project.teacher is not None
    need("torch", "train").set_num_threads(work.choices["threads"])
    base = base_model(project, project.teacher.model, work)
    work.licence = base.licence
    dataset, config = work.inputs["dataset"], project.teacher.train
    model = load_causal_lm(base.folder)
    if config:
        tokenizer, task = Tokenizer(base.folder), read_task(dataset)
        rows = read_answered(dataset, "train", task)
        rows = noisy_copies(rows, config.epochs, config.noise, work.seed, task.varied)
        held_out = read_answered(dataset, "validation", task)
        model = prepare(model, config, work.seed)
        curve = train(
            model,
            answered_examples(tokenizer, task, rows, "full"),
            config.model_copy(update={"epochs": 1.0}),  # the copies are the epochs
            mix({"cross_entropy": 1.0}, config.label_smoothing),
            begins=answer_begins(tokenizer, task),
            validation=answered_examples(tokenizer, task, held_out, "full"),
            seed=work.seed,
            number_format=work.choices["number_format"],
            scratch=work.scratch,
            show=text_of(rows),
            report=work.progress,
        )
        model = merge(model)
        write_curve(work.out / "curve.jsonl", curve)
    save_model(model, base.folder, work.out, dataset, "full", base.licence)
