"""How long a stage will take before it was ever run: tokens × operations a token ÷ the speed the probe found.

Once a stage has run, its own measured time is what the plan shows.
"""

from __future__ import annotations

from slmops.data.sources import find_rows
from slmops.models.folder import read_json
from slmops.models.references import find_cached
from slmops.stages.project import Project
from slmops.training.estimate import Shape

_BYTES_A_TOKEN = 4.0
_INSTRUCTION_TOKENS = 100
_USED = 0.5  # share of the probed speed that a whole training step reaches (measured on the example)
_HALVED = 0.4  # of a trial, where those that fall behind end early
_DEFAULT_GFLOPS = 150.0
_USUAL = Shape(width=576, inner=1536, layers=30, heads=9, key_width=192, vocabulary=49152, tied=True)


def training_minutes(project: Project, role: str) -> float:
    """Minutes to train the teacher or the student."""
    config = project.student.train if role == "student" else project.local_teacher and project.local_teacher.train
    if not config:
        return 0.1
    texts = _bytes(project, "train") if role == "teacher" else _bytes(project, "targets")
    rows = _rows(project, "train") if role == "teacher" else _rows(project, "targets")
    instruction = _INSTRUCTION_TOKENS * rows / 32 if role == "teacher" else 0
    tokens = texts / _BYTES_A_TOKEN + 12 * rows + instruction
    passes = 1 + config.upper_layers * (2.0 if config.method == "full" else 1.2)  # forward, backward where it learns
    layers = (project.student.layers or 30) if role == "student" else 30
    once = config.epochs * tokens * passes * _operations_a_token(project, layers) / (_speed(project) * 60e9)
    if not config.search:
        return once
    return once * (1 + config.search.num_trials * (_HALVED if config.search.halving else 1))


def forward_minutes(project: Project, part: str) -> float:
    """Minutes for the teacher to read `labels`' or `targets`' texts once."""
    tokens = _bytes(project, part) / _BYTES_A_TOKEN + 15 * _rows(project, part)
    return tokens * _operations_a_token(project, 30) / (_speed(project) * 60e9)


def _speed(project: Project) -> float:
    """GFLOP/s that training and scoring reach, by the probe where the project has its choices."""
    choices = project.state / "choices.json"
    if not choices.is_file():
        return _USED * _DEFAULT_GFLOPS
    found = read_json(choices)
    return float(_USED * found["gflops"][found["number_format"]])


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


def _operations_a_token(project: Project, layers: int) -> float:
    """Two for each weight of the layers; the output head is applied to a few positions only."""
    return 2.0 * layers * base_shape(project).layer


def base_shape(project: Project) -> Shape:
    """That of the model which learns first; of the default one, while it was never fetched."""
    reference = project.local_teacher.model if project.local_teacher else project.student.model
    found = find_cached(reference) if reference else None
    return Shape.of(read_json(found.folder / "config.json")) if found else _USUAL
