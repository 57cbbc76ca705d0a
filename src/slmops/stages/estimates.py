"""What a stage will take before it was ever run. Time: tokens × operations a token ÷ the speed the probe found.

Once a stage has run, its own measured time is what the plan shows.
"""

from __future__ import annotations

import math
from dataclasses import replace

from slmops.core.pipeline import Estimate
from slmops.data.sources import find_rows
from slmops.models.folder import read_json
from slmops.models.forward import NumberFormat
from slmops.models.references import find_cached
from slmops.stages.project import CHOICES_FILE, Project
from slmops.stages.pruned import layers_of_round
from slmops.training.config import StudentConfig
from slmops.training.duration import training_amount
from slmops.training.estimate import Lessons, Shape, training_needs

_BYTES_A_TOKEN = 4.0
_INSTRUCTION_TOKENS, _FRAME_TOKENS, _LABEL_TOKENS = 100, 12, 4  # of a row: roles and its label; of a label alone
_USED = 0.5  # share of the probed speed that reading reaches, attention and all (measured on the example)
_HALVED = 0.4  # of a trial, where those that fall behind end early
_DEFAULT_GFLOPS = 150.0
_USUAL = Shape(width=576, inner=1536, layers=30, heads=9, key_width=192, vocabulary=49152, tied=True)


def training_estimate(
    project: Project, role: str, megabytes: float, rounded: bool = False, number: int = 1
) -> Estimate:
    """Of a teacher, or of the student of a round, that is kept in `megabytes`; `rounded`: it learns to ship as int4."""
    teacher, student = project.teachers.get(role), project.student
    config = teacher.train if teacher else student.train if role == "student" else None
    if not config:
        return Estimate(0.1, megabytes)
    part = "train" if teacher else "targets"
    shape = _shape_of(teacher.model if teacher else project.student_origin)
    if not teacher:
        layers = shape.layers
        for left in range(student.rounds, student.rounds - number, -1):
            layers = layers_of_round(layers, student.layers, left)
        shape = cut(shape, student.model_copy(update={"layers": layers}))
    rows = _rows(project, part)
    own = _bytes(project, part) / max(1.0, rows) / _BYTES_A_TOKEN + _FRAME_TOKENS
    shared = _INSTRUCTION_TOKENS if teacher or student.prompt == "full" else 0
    learned = _LABEL_TOKENS if project.task.closed else own / 2
    lessons = Lessons.like(math.ceil(rows), own, shared, learned, config, project.task.closed)
    number_format, gflops = _probed(project)
    minutes = training_amount(shape, config, lessons).seconds(gflops, number_format) / 60
    if config.search:
        minutes *= 1 + config.search.num_trials * (_HALVED if config.search.halving else 1)
    memory = training_needs(shape, config, lessons, number_format, rounded).memory
    if not teacher and project.has_teacher_beside:
        memory += base_shape(project).bytes_in(number_format)
    return Estimate(minutes, megabytes, memory / 1e6)


def cut(shape: Shape, student: StudentConfig) -> Shape:
    """What is left of a model that a student is cut from; no more than there is."""
    head = shape.queries // shape.heads
    shared = shape.key_width // head
    kept = min(student.kv_heads or shared, shared)
    heads = shape.heads * kept // shared
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


def forward_minutes(project: Project, part: str) -> float:
    """Minutes for the teacher to read `labels`' or `targets`' texts once."""
    tokens = _bytes(project, part) / _BYTES_A_TOKEN + 15 * _rows(project, part)
    shape = base_shape(project)
    return tokens * 2 * shape.layers * shape.layer / (_USED * _probed(project)[1] * 60e9)


def _probed(project: Project) -> tuple[NumberFormat, float]:
    """The number format that computes and its GFLOP/s, by the probe where the project has its choices."""
    choices = project.state / CHOICES_FILE
    if not choices.is_file():
        return "float32", _DEFAULT_GFLOPS
    found = read_json(choices)
    return found["number_format"], float(found["gflops"][found["number_format"]])


def _bytes(project: Project, part: str) -> float:
    train = find_rows(project.data.train).size_bytes
    unlabelled = find_rows(project.data.unlabelled).size_bytes if project.data.unlabelled else 0
    answered = unlabelled + (train + unlabelled) * project.augmented()
    if part == "targets":
        return train + 0.8 * answered
    if part == "labels":
        return float(answered)
    return float(train if part == "train" else unlabelled)


def _rows(project: Project, part: str) -> float:
    return _bytes(project, part) / 120  # a line of the example: its text and its label


def base_shape(project: Project) -> Shape:
    """That of the model which learns first."""
    return _shape_of(project.local_teacher.model if project.local_teacher else project.student.model)


def _shape_of(reference: str | None) -> Shape:
    """Of a model, or of the default one, while it was never fetched."""
    found = find_cached(reference) if reference else None
    return Shape.of(read_json(found.folder / "config.json")) if found else _USUAL
