"""How a stage's model learns from rows, on all workers that it has; searched for before, where that is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from slmops.core.errors import SlmopsError, need
from slmops.core.files import free_bytes, place_whole
from slmops.core.machine import free_memory_bytes
from slmops.core.named import allow, code_of
from slmops.core.pipeline import Progress, Work
from slmops.data.augment import noisy_copies
from slmops.models.folder import context_of, read_json
from slmops.models.forward import NumberFormat, load_causal_lm
from slmops.models.packing import Example
from slmops.models.tokenizer import Tokenizer
from slmops.models.virtual_tokens import add_virtual_tokens
from slmops.stages.diagnosis import Diagnosis, course_of, cut_answers, faults_of_rows, write_diagnosis
from slmops.stages.engine import EngineConfig, together
from slmops.stages.judge import judge_by_metric
from slmops.stages.parts import (
    answer_begins,
    answered_examples,
    read_answered,
    read_task,
    read_task_spec,
    text_of,
    warn_of_long,
)
from slmops.stages.project import Project
from slmops.stages.saved import save_weights
from slmops.stages.targets import open_targets
from slmops.stages.teacher_beside import TeacherBeside
from slmops.stages.trials import Learned, best_trial, scratch_of
from slmops.tasks.types import Labels, Prompt, Record
from slmops.training.blame import BrokenLossError
from slmops.training.computing import Rounding
from slmops.training.config import TrainConfig
from slmops.training.curve import Moment, write_curve
from slmops.training.distillation_config import LossWeights
from slmops.training.estimate import Lessons, Needs, Shape, check_room, training_needs
from slmops.training.examples import within
from slmops.training.losses import mix_of
from slmops.training.methods import merge, prepare
from slmops.training.own import gold_loss
from slmops.training.parallel import Workers
from slmops.training.representation import remove_projections
from slmops.training.trackers import Run, check_trackers
from slmops.training.tracking import flat, followed, name_of_run, read_journal, resources
from slmops.training.trainer import GoesOn, train

if TYPE_CHECKING:
    from torch import nn

CURVE_FILE = "curve.jsonl"
_OF_ANSWERS = LossWeights(cross_entropy=1)


@dataclass(frozen=True)
class Lesson:
    """What a model learns: rows with their answers, asked for with `prompt`; by which losses; a teacher's targets, and
    what the shipped format does to a weight, where there are such; and where it is computed. Rows are `taught` where a
    teacher gave some of the answers; one that stays `beside` says more while it learns. `before` is how many times it
    has learned them already, each time in another order."""

    model: Path
    rows: Sequence[tuple[Record, str]]
    prompt: Prompt
    loss: LossWeights = _OF_ANSWERS
    targets: Path | None = None
    taught: bool = False
    rounding: Rounding | None = None
    engine: EngineConfig = field(default_factory=EngineConfig)
    beside: TeacherBeside | None = None
    before: int = 0


def code_of_training(config: TrainConfig) -> list[str]:
    """What decides how losses and callbacks of the user's own work."""
    return [code_of(name, "train") for name in config.own_code()]


def run_of(project: Project, stage: str, work: Work) -> Run:
    """As what a stage's training is followed.

    Raises:
        SlmopsError: a tracker is not installed, or lacks its key.
    """
    check_trackers(project.tracking)
    return Run(project.tracking, project.state / "tracking", project.name, name_of_run(work.scratch, stage))


def to_teach(model: Path, config: TrainConfig, work: Work) -> Path:
    """The folder of the model that learns: with virtual tokens, if they are what is learned."""
    if config.method != "prompt":
        return model
    folder = work.scratch / "with-virtual-tokens"
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        add_virtual_tokens(model, part, config.virtual_tokens, work.seed)
        place_whole(part, folder)
    return folder


def learned(lesson: Lesson, config: TrainConfig, work: Work, run: Run) -> nn.Module:
    """The trained model, adapters beside its weights; its curve and what a search found go into the artifact. What the
    machine did meanwhile stands beside it."""
    if config.search:
        config, run = best_trial(config, work, run, partial(_learn, lesson))
    model, curve, faults = _learn(lesson, config, work, run, None, work.progress)
    write_curve(work.out / CURVE_FILE, curve)
    write_diagnosis(work.out, faults)
    for figure, unit, value in resources(read_journal(run)):
        work.measure(figure, unit, value)
    return model


def _learn(
    lesson: Lesson, config: TrainConfig, work: Work, run: Run, goes_on: GoesOn | None, report: Progress
) -> Learned:
    """All workers that the lesson's engine has, each its share; the first is asked, tells and is followed. What asks
    nobody whether it `goes_on` is no trial: it is diagnosed."""
    scratch = scratch_of(work, run)
    asked = {"seed": work.seed, "number_format": work.choices["number_format"], "rows": len(lesson.rows)}
    run = replace(run, parameters=flat(config.model_dump(exclude={"search"}) | asked))

    def learn() -> Learned:
        with followed(run, lambda text: report(0.0, text)) as watch:
            return _learn_share(lesson, config, work, scratch, goes_on, report, watch)

    follow = partial(_follow, lesson, config, replace(work, progress=_tell_nobody), scratch)
    return together(lesson.engine, learn, follow, work.choices["threads"], lambda text: report(0.0, text))


def _follow(lesson: Lesson, config: TrainConfig, work: Work, scratch: Path) -> None:
    """The same in another worker's process, which is not asked and does not tell."""
    for name in (read_task_spec(work.inputs["dataset"])["name"], *config.own_code()):
        allow(name)
    need("torch", "train").set_num_threads(work.choices["threads"])
    _learn_share(lesson, config, work, scratch, lambda curve: True, _tell_nobody, lambda moment: None)


def _tell_nobody(share: float, text: str) -> None:
    """The first worker tells."""


def _learn_share(
    lesson: Lesson,
    config: TrainConfig,
    work: Work,
    scratch: Path,
    goes_on: GoesOn | None,
    report: Progress,
    watch: Callable[[Moment], None],
) -> Learned:
    dataset = work.inputs["dataset"]
    tokenizer, task = Tokenizer(lesson.model), read_task(dataset)
    varied = task.varied if isinstance(task.grammar, Labels) else None  # a free answer may say the very word
    rows = noisy_copies(lesson.rows, config.epochs, config.noise, work.seed, varied)
    if config.noise and "noise" in config.model_fields_set and (varied is None or config.epochs <= 1):
        why = "a word less would change what is asked, or answered" if varied is None else "each row is seen once"
        report(0.0, f"warning: train.noise does nothing: {why}")
    held_out = read_answered(dataset, "validation", task)
    context, show = context_of(lesson.model), text_of([*rows, *held_out])

    def fit(rows: Sequence[tuple[Record, str]], part: str) -> list[Example]:
        examples = answered_examples(tokenizer, task, rows, lesson.prompt)
        kept, longer = within(examples, context, config.too_long, show)
        if longer and not goes_on:
            warn_of_long(report, part, [show(row) for row in longer], f"too_long: {config.too_long}")
        return kept

    examples, validation = fit(rows, "train"), fit(held_out, "validation")
    by_metric = config.judge == "metric" and validation
    number_format = work.choices["number_format"]
    begins, closed = answer_begins(tokenizer, task), isinstance(task.grammar, Labels)
    if not work.force:
        rounded = bool(lesson.rounding)
        lessons = [*examples, *validation]
        beside = lesson.beside.folder if lesson.beside else None
        has_room(lesson.model, lessons, config, number_format, scratch, closed=closed, rounded=rounded, beside=beside)
    model = prepare(load_causal_lm(lesson.model), config, work.seed, tokenizer.virtual_ids)
    by_people = [] if goes_on or lesson.taught else [*faults_of_rows(task, lesson.rows), *cut_answers(task, examples)]
    for fault in by_people:
        report(0.0, f"warning: {fault}")
    once = config.model_copy(update={"epochs": min(1.0, config.epochs)})  # the copies are the others
    diagnosis = Diagnosis(course_of(examples, once, closed=closed, rounded=bool(lesson.rounding)), report)
    teach = open_targets(lesson.targets, examples, task, tokenizer) if lesson.targets else None
    own, representation = None, None
    if lesson.beside:
        own, representation = lesson.beside.begin(model, examples, rows, task, number_format, work.seed)
    try:
        curve = train(
            model,
            examples,
            once,
            mix_of(lesson.loss, gold_loss(config)),
            teach=own.teach(teach) if own and teach else teach,
            on_policy=own,
            begins=begins,
            representation=representation,
            rounding=lesson.rounding,
            validation=validation,
            seed=work.seed + lesson.before,
            number_format=number_format,
            scratch=scratch,
            frozen=work.scratch / "frozen",
            judge=judge_by_metric(lesson.model, task, held_out, lesson.prompt) if by_metric else None,
            goes_on=goes_on or diagnosis.look,
            show=show,
            report=report,
            watch=watch,
        )
    except BrokenLossError as error:
        if goes_on or not error.step:  # a trial, or another worker
            raise
        remove_projections(model)
        raise _with_last_good(error, model, lesson.model, scratch / "last-good") from error
    remove_projections(model)
    return model, curve, [] if goes_on else [*diagnosis.end(curve), *by_people]


def _with_last_good(error: BrokenLossError, model: nn.Module, source: Path, folder: Path) -> SlmopsError:
    """The error, with where the model lies as it was after the last good step: another config begins anew."""
    save_weights(merge(model), source, folder)
    kept = f"what it had learned by step {error.step} is the model file:{folder.absolute()}"
    return SlmopsError(error.what, where=error.where, remedy=f"{error.remedy}; {kept}")


def has_room(
    model: Path,
    examples: Sequence[Example],
    config: TrainConfig,
    number_format: NumberFormat,
    scratch: Path,
    *,
    closed: bool = False,
    rounded: bool = False,
    beside: Path | None = None,
) -> None:
    """That the model in its folder, not yet loaded, can learn all examples on this machine, in each of the workers that
    are there; `closed`: answers are of a closed set; `beside`: a model that stays in memory, too.

    Raises:
        SlmopsError: memory or disk does not suffice.
    """
    shape = Shape.of(read_json(model / "config.json"))

    def needs(config: TrainConfig) -> Needs:
        return training_needs(shape, config, Lessons.of(examples, config, closed), number_format, rounded)

    held = psutil.Process().memory_info().rss  # a part of what the estimate counts
    free = Workers.joined().least_room(free_memory_bytes(), held)
    if beside:
        free -= Shape.of(read_json(beside / "config.json")).bytes_in(number_format)
    check_room(config, needs, Needs(free, free_bytes(scratch)), scratch)
