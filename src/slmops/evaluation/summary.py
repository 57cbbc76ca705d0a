"""What a run has shown, as data: the source of the report and what `slmops report --json` prints.

The four headline figures stand at the top level: shares of the teacher's, 0.952 meaning 95.2 %. Whatever was not
measured is None or absent, never 0. Knows no page and no plot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from slmops.core.errors import StoreError
from slmops.core.measurement import ArtifactId, Interval
from slmops.core.search import Trial
from slmops.evaluation.figures import Unit


def _defined(value: Any) -> Any:
    """A figure that is undefined (0/0) was not measured."""
    return None if isinstance(value, Interval) and math.isnan(value.value) else value


Measured = Annotated[Interval | None, BeforeValidator(_defined)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Gain(_Part):
    """What is kept and what is saved against a teacher, as shares of the teacher's figures; `quality_kept` is of the
    task's first metric, whichever it is."""

    accuracy_kept: Measured = None
    quality_kept: Measured = None
    latency_reduction: Measured = None
    model_bytes_reduction: Measured = None
    memory_reduction: Measured = None


class Made(_Part):
    """By what the figures were made; `choices` were probed from the machine or configured (threads, usd_per_hour …)."""

    run: str
    date: str
    command: str
    seed: int
    versions: dict[str, str]
    machine: dict[str, Any]
    choices: dict[str, Any]


class Data(_Part):
    """Rows of each kind; `rejected` counts the teacher's answers that were not used, by reason. `opinions` are the
    accuracies on the validation rows of those that the student learned from: teacher, classical, both together."""

    train: int
    validation: int
    test: int
    unlabelled: int = 0
    labelled_by_teacher: int = 0
    rejected: dict[str, int] = {}
    opinions: dict[str, Measured] = {}


class Subject(_Part):
    """One of those compared: its figures by the names of `figures.FIGURES`, and the prompt it was asked with."""

    name: str
    what: str
    artifact: ArtifactId | None = None
    prompt: str = ""
    figures: dict[str, Measured]


class Comparison(_Part):
    """a's figure minus b's on the same rows; `p_value` of a paired test."""

    a: str
    b: str
    metric: str
    difference: Interval
    p_value: float | None = None


class Gate(_Part):
    """A limit the figures had to keep; may carry more than is shown."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    sentence: str
    passed: bool


class Link(_Part):
    """What was compared with the stage before on the way to what ships; `broken` says what broke, and where."""

    stage: str
    compared: str
    figures: dict[str, float] = {}
    broken: str = ""
    remedy: str = ""


class Published(_Part):
    """A figure the field quotes, word for word, and ours in `unit`."""

    claim: str
    published: str
    ours: Measured = None
    unit: Unit = "share"
    reached: bool | None = None
    note: str = ""


class Point(_Part):
    """A point of a training curve: mean loss a target token since the point before, and on validation rows."""

    step: int
    loss: float
    validation_loss: float | None = None


class Fault(_Part):
    """What went wrong with a training, the figures that show it, and what to do about it."""

    name: str
    shown_by: str
    remedy: str


class Search(_Part):
    """A search: `best` is the number of the trial that was taken, `importance` each key's share of the spread."""

    trials: tuple[Trial, ...]
    importance: dict[str, float]
    best: int


class Confusion(_Part):
    """How often each label (row) was answered as each label (column)."""

    subject: str
    matrix: tuple[tuple[int, ...], ...]


class Mistake(_Part):
    """A test message that the shipped model gets wrong; `answers` by subject, None where invalid; `right` are those
    that the figure which decides counts as wholly right."""

    text: str
    gold: str
    answers: dict[str, str | None]
    right: tuple[str, ...] = ()


class Step(_Part):
    """A stage's artifact and the artifacts it was made from, by role."""

    stage: str
    kind: str
    id: ArtifactId
    parents: dict[str, ArtifactId]
    seconds: float
    size_bytes: int
    base_models: dict[str, str] = {}  # reference → where it came from


class FoundryLocal(_Part):
    """The shipped model as Foundry Local answers; `same_as_artifact`: the share that the artifact gives too."""

    quality: Measured = None
    valid_answers: Measured = None
    same_as_artifact: Measured = None
    latency_ms: Measured = None


class Against(_Part):
    """What being distilled gave over another way to train the same student: the difference of the figure that decides,
    over all seeds until it was certain. It is undecided while it is not, and more seeds are to come."""

    arm: str
    word: Literal["helped", "no gain", "hurt", "undecided"]
    difference: Interval

    def __str__(self) -> str:
        points, spread = 100 * self.difference.value, 50 * (self.difference.high - self.difference.low)
        if self.word in ("no gain", "undecided"):
            return f"{self.word} ({points:+.1f} ± {spread:.1f} points) over {self.arm}"
        return f"{self.word} by {abs(points):.1f} ± {spread:.1f} points over {self.arm}"


class Verdict(_Part):
    """Whether the teacher helped: `figures` are each arm's, one a seed, of `asked` at most. `artifact` is what ships of
    the project, the first of the distilled, `dataset` what it was asked."""

    metric: str
    against: tuple[Against, ...]
    figures: dict[str, tuple[float, ...]]
    steps: int
    rows: int
    asked: int
    artifact: ArtifactId
    dataset: ArtifactId


class LedgerStep(_Part):
    """The figure that decides after a step, and its difference to the one before on the same messages."""

    after: str
    figure: float
    difference: Interval | None = None


class Ledger(_Part):
    """From the teacher to the student, one step after another, each a student that was trained for it."""

    metric: str
    steps: tuple[LedgerStep, ...]
    student: ArtifactId
    dataset: ArtifactId


class Slice(_Part):
    """A part of the test, by label, length or language: the figure that decides of teacher and student, and the
    difference."""

    kind: str
    name: str
    rows: int
    teacher: float
    student: float
    difference: Interval


class Bin(_Part):
    """Answers that are about as probable: their mean probability, and the share of them that is right."""

    rows: int
    confidence: float
    right: float


class Making(_Part):
    """What it took to make all of it, and what of that a teacher behind an endpoint was paid, where it told its tokens;
    what a million of the teacher's answers cost, and after how many all is saved against them; None if never."""

    seconds: float
    usd: float
    endpoint_usd: float | None = None
    teacher_usd_per_million: float | None = None
    break_even_answers: float | None = None


class Summary(Gain):
    """A run's evidence. `shipped` names the subject that ships; its gain against the teacher is the summary's own.
    `quality` is the figure that decides: the name of the task's first metric. `trainings` says what each took, and what
    the cached targets are worth. `agreement` is the share of test messages that what ships answers as its teacher does,
    right or wrong; `calibration` tells how often teacher and what ships are right where they are how sure, of a closed
    set."""

    name: str
    task: str
    config: str
    quality: str = "accuracy"
    labels: tuple[str, ...] = ()
    made: Made
    data: Data
    shipped: str
    subjects: tuple[Subject, ...]
    against_teacher_int4: Gain | None = None
    comparisons: tuple[Comparison, ...] = ()
    gates: tuple[Gate, ...] = ()
    proof: tuple[Link, ...] = ()
    published: tuple[Published, ...] = ()
    curves: dict[str, tuple[Point, ...]] = {}
    faults: dict[str, tuple[Fault, ...]] = {}
    searches: dict[str, Search] = {}
    trainings: dict[str, str] = {}
    confusion: Confusion | None = None
    mistakes: tuple[Mistake, ...] = ()
    lineage: tuple[Step, ...] = ()
    foundry_local: FoundryLocal | None = None
    verdict: Verdict | None = None
    ledger: Ledger | None = None
    agreement: Measured = None
    slices: tuple[Slice, ...] = ()
    calibration: dict[str, tuple[Bin, ...]] = {}
    making: Making | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Summary:
        names = [subject.name for subject in self.subjects]
        if self.shipped not in names or len(set(names)) < len(names):
            raise ValueError(f"{self.shipped!r} ships, which must be one of the subjects {names}, each named once")
        if self.confusion and {len(self.labels)} != {
            len(part) for part in (self.confusion.matrix, *self.confusion.matrix)
        }:
            raise ValueError(f"the confusion matrix must be square over the {len(self.labels)} labels")
        return self

    def subject(self, name: str) -> Subject | None:
        """The subject of that name, if it was compared."""
        return next((subject for subject in self.subjects if subject.name == name), None)

    def figure(self, subject: str, name: str) -> Interval | None:
        """A subject's figure, if it was measured."""
        found = self.subject(subject)
        return found.figures.get(name) if found else None

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Summary:
        """The summary that `to_json` wrote.

        Raises:
            StoreError: a field is missing, unknown or of the wrong type; says which.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise StoreError(
                f"this is no summary of a run: {first['msg']}",
                where=field,
                remedy="slmops run --from evidence writes it anew",
            ) from error
