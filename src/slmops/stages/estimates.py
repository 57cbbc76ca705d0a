"""What a stage will take before it was ever run: of the model's config.json and the first rows of its files.

Time is tokens × operations a token ÷ the speed the probe found. A model that was never fetched is taken for one of the
default's size. Once a stage has run, its own measured time is what the plan shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from slmops.core.pipeline import Estimate
from slmops.data.extent import Extent, extent_of
from slmops.models.folder import read_json
from slmops.models.forward import NumberFormat
from slmops.optimization.config import OptimizationConfig
from slmops.stages.base_models import folder_of
from slmops.stages.project import CHOICES_FILE, Project
from slmops.stages.rounds import of_round
from slmops.training.config import TrainConfig
from slmops.training.duration import training_amount
from slmops.training.estimate import Lessons, Needs, Shape, training_needs
from slmops.training.student_config import StudentConfig

_BYTES_A_TOKEN = 4.0
_INSTRUCTION_TOKENS, _FRAME_TOKENS, _LABEL_TOKENS = 100, 12, 4  # of a row: roles and its label; of a label alone
_SHIPPED_BYTES = {"fp32": 4.0, "int8": 1.125, "int4": 0.625}  # a weight, with its share of a scale
_ACCEPTED = 0.8  # of a teacher's answers
_USED = 0.5  # share of the probed speed that reading reaches, attention and all (measured on the example)
_ROUNDED = 0.4  # of the time that reading takes in torch: a converted model's (measured on the headline's teacher)
_ALONE = {"torch": 11.0, "converted": 2.0}  # a token written by itself, in tokens read (measured there, too)
_TOGETHER = 2.0  # one of many written together, by torch alone
_SUBJECT_MINUTES = 0.25  # to start, load, and for everything that is computed of its answers
_HALVED = 0.4  # of a trial, where those that fall behind end early
_DEFAULT_GFLOPS = 150.0
_USUAL = Shape(width=576, inner=1536, layers=30, heads=9, key_width=192, vocabulary=49152, tied=True)


def training_estimate(project: Project, role: str, rounded: bool = False, number: int = 1) -> Estimate:
    """Of a teacher, or of the student of a round; `rounded`: it learns to ship as int4."""
    teacher, shape = project.teachers.get(role), _learning_shape(project, role, number)
    config = teacher.train if teacher else project.student.train
    if not config:
        return Estimate(0.1, _megabytes(shape))
    if teacher:
        config = config.lasting(math.ceil(_extent(project, "train").rows))
    number_format, gflops = _probed(project)
    minutes = training_amount(shape, config, _lessons_of(project, role)(config)).seconds(gflops, number_format) / 60
    if config.search:
        minutes *= 1 + config.search.num_trials * (_HALVED if config.search.halving else 1)
    needs = needs_of(project, role, rounded, number)(config)
    return Estimate(minutes, _megabytes(shape) + needs.disk / 1e6, needs.memory / 1e6)


def needs_of(project: Project, role: str, rounded: bool = False, number: int = 1) -> Callable[[TrainConfig], Needs]:
    """What a teacher, or the student of a round, needs to learn in one way or another."""
    shape, lessons = _learning_shape(project, role, number), _lessons_of(project, role)
    number_format, _ = _probed(project)
    stays = project.has_teacher_beside and role not in project.teachers
    beside = base_shape(project).bytes_in(number_format) if stays else 0

    def needs(config: TrainConfig) -> Needs:
        found = training_needs(shape, config, lessons(config), number_format, rounded)
        return replace(found, memory=found.memory + beside)

    return needs


def pruned_estimate(project: Project, number: int = 1) -> Estimate:
    """Of the student of a round before it learns."""
    return Estimate(0.1, _megabytes(student_shape(project, number)))


def converted_estimate(project: Project, source: str, config: OptimizationConfig) -> Estimate:
    """Of the last student, or of the teacher, as it ships."""
    shape = base_shape(project) if source == "teacher" else student_shape(project, project.student.rounds)
    return Estimate(0.2, _megabytes(shape, _SHIPPED_BYTES[config.precision]))


def _learning_shape(project: Project, role: str, number: int) -> Shape:
    teacher = project.teachers.get(role)
    return _shape_of(project, teacher.model) if teacher else student_shape(project, number)


def _lessons_of(project: Project, role: str) -> Callable[[TrainConfig], Lessons]:
    """What a teacher, or the student, learns from in one way or another."""
    is_teacher = role in project.teachers
    gold = _extent(project, "train")
    found = gold if is_teacher else _extent(project, "targets")
    answer = gold.answered / max(1.0, gold.rows) / _BYTES_A_TOKEN + 1
    own = found.asked / max(1.0, found.rows) / _BYTES_A_TOKEN + _FRAME_TOKENS
    own += 0 if project.task.closed else answer
    shared = _INSTRUCTION_TOKENS if project.prompt_of(role) == "full" else 0
    learned = _LABEL_TOKENS if project.task.closed else answer if gold.answered else own / 2  # a conversation's turns
    return lambda config: Lessons.like(math.ceil(found.rows), own, shared, learned, config, project.task.closed)


def student_shape(project: Project, number: int = 1) -> Shape:
    """That of the student of a round, counted from 1."""
    student, shape = project.student, _shape_of(project, project.student_origin)
    for left in range(student.rounds, student.rounds - number, -1):
        shape = cut(shape, of_round(shape, student, left))
    return shape


def cut(shape: Shape, student: StudentConfig) -> Shape:
    """What is left of a model that a student is cut from; no more than there is."""
    head = shape.queries // shape.heads
    kept = min(student.kv_heads or shape.kv_heads, shape.kv_heads)
    heads = shape.heads * kept // shape.kv_heads
    heads = min(student.heads or heads, heads)
    return replace(
        shape,
        layers=min(student.layers or shape.layers, shape.layers),
        width=min(student.width or shape.width, shape.width),
        inner=min(student.units or shape.inner, shape.inner),
        heads=heads,
        key_width=kept * head,
        query_width=heads * head,
        vocabulary=shape.vocabulary if student.vocabulary == "all" else min(student.vocabulary, shape.vocabulary),
    )


def forward_minutes(project: Project, part: Literal["labels", "targets"]) -> float:
    """Minutes for the teacher to read `labels`' or `targets`' texts once."""
    found, shape = _extent(project, part), base_shape(project)
    tokens = (found.asked + found.answered) / _BYTES_A_TOKEN + (_FRAME_TOKENS + _LABEL_TOKENS) * found.rows
    return _minutes_of(project, shape, tokens)


def evidence_minutes(project: Project, models: Sequence[str]) -> float:
    """Minutes for those that are compared to answer the test, some of it one after another."""
    found = _extent(project, "test")
    return sum(_SUBJECT_MINUTES + _answering_minutes(project, name, found) for name in models)


def _answering_minutes(project: Project, subject: str, found: Extent) -> float:
    converted = subject == "teacher_int4" or subject in {one.name for one in project.optimization}
    is_teacher = subject in ("teacher", "teacher_int4")  # an optimization may be called teacher-something
    shape = base_shape(project) if is_teacher else student_shape(project, project.student.rounds)
    written = 0.0
    if not project.task.closed:
        alone = 1.0 if converted else min(1.0, project.evaluation.bench.messages / max(1.0, found.rows))
        each = alone * _ALONE["converted" if converted else "torch"] + (1 - alone) * _TOGETHER
        written = each * found.answered / _BYTES_A_TOKEN
    read = (_ROUNDED if converted else 1.0) * (found.asked / _BYTES_A_TOKEN + _FRAME_TOKENS * found.rows)
    return _minutes_of(project, shape, read + written)


def _minutes_of(project: Project, shape: Shape, tokens: float) -> float:
    """Minutes to read so many tokens in torch."""
    return tokens * 2 * shape.layers * shape.layer / (_USED * _probed(project)[1] * 60e9)


def _probed(project: Project) -> tuple[NumberFormat, float]:
    """The number format that computes and its GFLOP/s, by the probe where the project has its choices."""
    choices = project.state / CHOICES_FILE
    if not choices.is_file():
        return "float32", _DEFAULT_GFLOPS
    found = read_json(choices)
    return found["number_format"], float(found["gflops"][found["number_format"]])


def _extent(project: Project, part: Literal["train", "labels", "targets", "test"]) -> Extent:
    """Of what a teacher learns, of what it answers, of what is learned from it, and of the test."""
    data = project.data
    if part == "test":
        return extent_of(data.test, data.fields, data.max_row_bytes)
    train = extent_of(data.train, data.fields, data.max_row_bytes)
    if part == "train":
        return train
    unlabelled = Extent()
    if data.unlabelled and project.teacher:
        unlabelled = extent_of(data.unlabelled, data.fields, data.max_row_bytes)
    answered = unlabelled + (train + unlabelled).times(project.augmented() if project.teachers else 0)
    return answered if part == "labels" else train + answered.times(_ACCEPTED)


def base_shape(project: Project) -> Shape:
    """That of the model which learns first."""
    return _shape_of(project, project.local_teacher.model if project.local_teacher else project.student_origin)


def _shape_of(project: Project, reference: str) -> Shape:
    """Of a model, or of the default one, while it was never fetched."""
    folder = folder_of(project, reference)
    return Shape.of(read_json(folder / "config.json")) if folder else _USUAL


def _megabytes(shape: Shape, bytes_a_weight: float = 4.0) -> float:
    return bytes_a_weight * shape.weights / 1e6
