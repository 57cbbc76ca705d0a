"""`student`: the small model, taught by the teacher's cached distributions; or on gold, and on a remote teacher's
answers where there is one."""

from __future__ import annotations

from functools import partial
from typing import Any

from slmops.core.errors import need
from slmops.core.pipeline import Estimate, Stage, Work
from slmops.data.augment import noisy_copies
from slmops.models.forward import load_causal_lm
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.config import OptimizationConfig
from slmops.optimization.int4 import round_to_int4
from slmops.stages.estimates import training_minutes
from slmops.stages.parts import answer_begins, answered_examples, read_answered, read_task, save_model, text_of
from slmops.stages.project import Project
from slmops.stages.targets import accepted, open_targets, read_answers
from slmops.training.curve import write_curve
from slmops.training.losses import mix
from slmops.training.methods import merge, prepare
from slmops.training.trainer import train


def student_stage(project: Project) -> Stage:
    shipped = _shipped_int4(project)
    inputs = {"dataset": "dataset", "pruned": "pruned"}
    section: dict[str, Any] = {
        "train": project.student.train.model_dump(),
        "prompt": project.student.prompt,
        "rounding": shipped.block_size if shipped else None,
        "seed": project.seed,
    }
    if project.local_teacher:
        inputs["targets"] = "targets"
        section["loss"] = project.distillation.loss.model_dump()
    elif project.teacher:
        inputs["labels"] = "labels"
    return Stage(
        "student",
        4,
        inputs,
        section,
        lambda work: _make(project, work),
        Estimate(training_minutes(project, "student"), 210),
        ("number_format", "threads"),
    )


def _shipped_int4(project: Project) -> OptimizationConfig | None:
    """The int4 that ships, if the student can learn under its rounding."""
    shipped = project.optimization[-1] if project.optimization else None
    aware = shipped and shipped.precision == "int4" and shipped.symmetric and project.student.train.quantization_aware
    return shipped if aware else None


def _make(project: Project, work: Work) -> None:
    need("torch", "train").set_num_threads(work.choices["threads"])
    dataset, pruned, config = work.inputs["dataset"], work.inputs["pruned"], project.student.train
    work.licence = work.parent_licences["pruned"]
    tokenizer, task, prompt = Tokenizer(pruned), read_task(dataset), project.student.prompt
    held_out = read_answered(dataset, "validation", task)
    if "targets" in work.inputs:
        rows = read_answers(work.inputs["targets"])
        weights = project.distillation.loss.model_dump()
    else:
        rows = read_answered(dataset, "train", task)
        if "labels" in work.inputs:
            known = {record.text for record, _ in rows}
            rows += [(record, record.answers[-1].text) for record in accepted(work.inputs["labels"], known)]
        weights = {"cross_entropy": 1.0}
    rows = noisy_copies(rows, config.epochs, config.noise, work.seed, task.varied)
    examples = answered_examples(tokenizer, task, rows, prompt)
    shipped = _shipped_int4(project)
    model = prepare(load_causal_lm(pruned), config, work.seed)
    curve = train(
        model,
        examples,
        config.model_copy(update={"epochs": 1.0}),  # the copies are the epochs
        mix(weights, config.label_smoothing),
        teach=open_targets(work.inputs["targets"], examples, task, tokenizer) if "targets" in work.inputs else None,
        begins=answer_begins(tokenizer, task),
        rounding=partial(round_to_int4, block_size=shipped.block_size) if shipped else None,
        validation=answered_examples(tokenizer, task, held_out, prompt),
        seed=work.seed,
        number_format=work.choices["number_format"],
        scratch=work.scratch,
        show=text_of(rows),
        report=work.progress,
    )
    save_model(merge(model), pruned, work.out, dataset, prompt, work.licence)
    write_curve(work.out / "curve.jsonl", curve)
