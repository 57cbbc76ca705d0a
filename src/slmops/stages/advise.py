"""How to learn a task, in words: which model, which method, what to ask of the data, each with its reason.

In come a project and its files; out goes advice, with the lines of slmops.yaml that follow it. Trains nothing; the
reasons are what our own benchmarks and examples have shown, said with their figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from slmops.core.machine import free_memory_bytes
from slmops.data.read import recognise_file
from slmops.data.sources import rows_of
from slmops.stages.estimates import needs_of, student_shape
from slmops.stages.project import Project
from slmops.stages.student import shipped_int4
from slmops.training.config import TrainConfig
from slmops.training.estimate import Needs, cheaper

_FEW = 500  # rows to learn from
_JUDGED = 200  # rows below which an interval is too wide to decide much
_STEPS = (60, 1500)  # in which our examples learn


@dataclass(frozen=True)
class Advice:
    """What to do, why, and the line that does it, where there is one."""

    what: str
    why: str
    line: str = ""


@dataclass(frozen=True)
class _Rows:
    count: int
    rarest: tuple[str, int] | None


def advise(project: Project) -> list[Advice]:
    """Advice for the project as it stands, the most important first.

    Raises:
        DataError: a file cannot be read.
    """
    train, test = _counted(project, "train"), _counted(project, "test")
    unlabelled = _counted(project, "unlabelled").count if project.data.unlabelled else 0
    return [
        *_on_data(train, test),
        *_on_the_teacher(project, train, unlabelled),
        *_on_the_student(project),
        *_on_the_method(project),
        *_on_steps(project, train, unlabelled),
    ]


def _on_data(train: _Rows, test: _Rows) -> list[Advice]:
    found = []
    if test.count < _JUDGED:
        wide = round(100 * 1.96 * (0.25 / max(1, test.count)) ** 0.5)
        why = f"{test.count} rows tell an accuracy only to within ±{wide} points"
        found.append(Advice(f"judge by {_JUDGED} rows or more", why))
    if train.rarest and train.rarest[1] < 10:
        label, count = train.rarest
        why = f"{label!r} has {count} rows; a label with fewer than ten is seldom learned"
        line = "slmops data augment FILE --fill-rare 10 -o MORE.jsonl"
        found.append(Advice("add rows of rare labels", why, line))
    return found


def _on_the_teacher(project: Project, train: _Rows, unlabelled: int) -> list[Advice]:
    closed = project.task.closed
    if closed and not project.teacher:
        why = "a small model that learns a teacher's doubts between labels keeps more than one that learns labels alone"
        line = "teacher: smollm2-135m-instruct, student: {from: teacher, layers: 12}"
        return [Advice("learn from a teacher", why, line)]
    if closed and project.local_teacher and unlabelled < train.count / 2:
        why = f"a teacher is nearly certain of its own rows and teaches little there; {unlabelled} others are few"
        return [Advice("give it unlabelled texts", why, "data: {unlabelled: FILE}")]
    if not closed and project.local_teacher and train.count < _FEW:
        why = f"with {train.count} rows and written answers, our examples learn from the rows themselves"
        return [
            Advice("do without a teacher", why, "student: {model: smollm2-135m-instruct, train: {upper_layers: 1}}")
        ]
    return []


def _on_the_student(project: Project) -> list[Advice]:
    if project.task.closed or project.student.layers is None:
        return []
    units = project.student.units or 32 * max(1, student_shape(project).inner // 128)
    why = "layers copy words into an answer together; cut to 13 of 30, entity F1 fell to a half in our example"
    line = f"student: {{layers: null, units: {units}, train: {{upper_layers: 1}}}}"
    return [Advice("keep all layers, and fewer units in each", why, line)]


def _on_the_method(project: Project) -> Iterator[Advice]:
    """For each model that learns."""
    for name, teacher in project.teachers.items():
        if teacher.train:
            yield _on_how_it_learns(name, teacher.train, needs_of(project, name))
    needs = needs_of(project, "student", rounded=shipped_int4(project) is not None)
    yield _on_how_it_learns("student", project.student.train, needs)


def _on_how_it_learns(role: str, config: TrainConfig, needs: Callable[[TrainConfig], Needs]) -> Advice:
    free, ways = free_memory_bytes(), list(cheaper(config))

    def told(config: TrainConfig) -> str:
        return f"about {needs(config).memory / 1e9:.1f} GB of memory"

    are_free = f"{free / 1e9:.1f} GB are free"
    if needs(config).memory < free:
        return Advice(f"train the {role} as it stands ({config.method})", f"it needs {told(config)}, {are_free}")
    found = next(((line, way) for line, way in ways if needs(way).memory < free), None)
    if found is None:
        least = min((config, *(way for _, way in ways)), key=lambda way: needs(way).memory)
        return Advice(f"choose a smaller {role}", f"however it learns, it needs {told(least)}, {are_free}")
    line, way = found
    why = f"as it stands it needs {told(config)}, so {told(way)}, {are_free}"
    section = role if role in ("teacher", "student") else ""  # another teacher is an entry of a list
    line = f"train: {{{line}}}"
    return Advice(f"train the {role} with {way.method}", why, f"{section}: {{{line}}}" if section else line)


def _on_steps(project: Project, train: _Rows, unlabelled: int) -> list[Advice]:
    config = project.student.train
    rows = train.count + (1 + project.augmented()) * unlabelled + project.augmented() * train.count
    steps = round(config.epochs * rows / config.batch_size)
    least, most = _STEPS
    if least <= steps <= most or not rows:
        return []
    epochs = max(0.5, round(2 * min(max(steps, least), most) * config.batch_size / rows) / 2)
    why = f"as it stands, the student learns in {steps:,} steps; our examples learn in {least} to {most:,}"
    return [Advice("change how long it learns", why, f"student: {{train: {{epochs: {epochs:g}}}}}")]


def _counted(project: Project, part: str) -> _Rows:
    """How many rows there are, and the rarest label with its rows, where answers are labels."""
    path, data = getattr(project.data, part), project.data
    layout, labels, count = recognise_file(path, data.fields, data.max_row_bytes), Counter[str](), 0
    column = layout.answer_column() if layout and project.task.closed else ""
    for _, row in rows_of(path, data.max_row_bytes):
        if isinstance(row, dict):
            count += 1
            if column and isinstance(label := row.get(column), str):
                labels[label.strip()] += 1
    return _Rows(count, min(labels.items(), key=lambda one: (one[1], one[0])) if labels else None)
