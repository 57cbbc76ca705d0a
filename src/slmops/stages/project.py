"""The project: slmops.yaml as one model, composed of the rooms' sections. Reads no data and runs nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from slmops.core.config import Config, Name, Section, one_or_many, validate
from slmops.core.errors import SlmopsError
from slmops.core.named import allow, is_named
from slmops.core.search import Trials
from slmops.data.config import DataConfig
from slmops.deployment.config import DeploymentConfig
from slmops.evaluation.config import EvaluationConfig
from slmops.evaluation.gates_config import GatesConfig
from slmops.optimization.config import OptimizationConfig
from slmops.stages.conflicts import conflicts_of
from slmops.stages.engine import EngineConfig
from slmops.synthesis.config import SynthesisConfig
from slmops.tasks.config import TaskConfig
from slmops.tasks.types import Prompt
from slmops.training.distillation_config import DistillationConfig
from slmops.training.student_config import StudentConfig
from slmops.training.teacher_config import TeacherConfig, Teachers
from slmops.training.tracking_config import TrackingConfig

CHOICES_FILE = "choices.json"  # in the project's state: what was probed from the machine
MODELS_FILE = "models.json"  # and the identities of the base models
_WEIGHTS = "distillation.loss."


Command = Literal["run", "train", "distill"]  # what makes stages


class Project(Config):
    """All that slmops.yaml can say. A scalar in a section's place sets its main field."""

    name: Name = Field(description="the project's name, which its artifacts carry")
    seed: int = Field(default=7, ge=0, lt=2**32, description="what decides everything random")
    engine: EngineConfig = EngineConfig()
    task: TaskConfig = TaskConfig()
    data: DataConfig = Field(description="files of rows: {train: file, test: file, unlabelled: file}")
    teacher: Teachers | None = Field(default=None, description="the big model, or several; may be absent")
    synthesis: SynthesisConfig = SynthesisConfig()
    student: StudentConfig = Field(description="the small model, which ships: {from: teacher, layers: 8}")
    distillation: DistillationConfig = DistillationConfig()
    optimization: Annotated[tuple[OptimizationConfig, ...], one_or_many(OptimizationConfig)] = Field(
        default=(OptimizationConfig(),), description="what the student is converted into; the last one ships"
    )
    evaluation: EvaluationConfig = EvaluationConfig()
    gates: GatesConfig = GatesConfig()
    tracking: TrackingConfig = TrackingConfig()
    search: Trials | None = Field(
        default=None, description="what slmops search tries: keys of distillation, student and synthesis, in full"
    )
    deployment: Annotated[tuple[DeploymentConfig, ...], one_or_many(DeploymentConfig)] = Field(
        default=(), max_length=1, description="where the shipped model goes"
    )

    @classmethod
    def load(cls, path: Path, variant: str | None = None) -> Self:
        """The project in the file at `path`; code of its own is looked for beside it.

        Raises:
            ConfigError: with all that is wrong, in the file's order.
        """
        project = super().load(path, variant)
        for name in project.own_code():
            allow(name, project.root)
        return project

    def own_code(self) -> list[str]:
        """What the project names of the user's own: a task, a variation of texts, losses, callbacks, metrics."""
        teachers = [teacher.train for teacher in self.teachers.values()]
        trained = [config for config in (self.student.train, *teachers) if config]
        names = [self.task.type, *self.evaluation.metrics, *(name for config in trained for name in config.own_code())]
        names += [self.synthesis.vary] if self.synthesis.vary else []
        return [name for name in names if is_named(name)]

    def conflicts(self) -> Iterator[tuple[str, str, str]]:
        return conflicts_of(self)

    def tried_out(self, values: Mapping[str, Any]) -> Self:
        """A trial of the project: with other `values`, and without a search. A weight of `distillation.loss` is tried
        among the project's own.

        Raises:
            ConfigError: they cannot be, or do not fit together.
        """
        own: dict[str, Any] = {}
        if any(key.startswith(_WEIGHTS) for key in values):
            own = {_WEIGHTS + name: weight for name, weight in self.distillation.loss.weights.items() if weight}
        return self.tried(own | dict(values), search=None)

    @property
    def local_teacher(self) -> TeacherConfig | None:
        """The teacher, if it runs here: one that can be taught, cut and measured."""
        return self.teacher if self.teacher and not self.teacher.endpoint else None

    @property
    def teachers(self) -> dict[str, TeacherConfig]:
        """Those that run here, by the stage that makes each; the first is the one that is cut, measured and kept in
        memory."""
        return {name: teacher for name, teacher in self._all_teachers.items() if not teacher.endpoint}

    @property
    def endpoints(self) -> dict[str, TeacherConfig]:
        """Those behind an address, named in the same way: one alone, or beside those that run here."""
        return {name: teacher for name, teacher in self._all_teachers.items() if teacher.endpoint}

    @property
    def hears_several(self) -> bool:
        return len(self._all_teachers) > 1

    @property
    def _all_teachers(self) -> dict[str, TeacherConfig]:
        if self.teacher is None:
            return {}
        return {"teacher": self.teacher} | {f"teacher_{at}": other for at, other in enumerate(self.teacher.others, 2)}

    def prompt_of(self, subject: str) -> Prompt:
        """How a teacher, what is made of the first one, or anything of the student's is asked."""
        teacher = self.teachers.get("teacher" if subject == "teacher_int4" else subject)
        return teacher.prompt if teacher else self.student.prompt

    @property
    def student_origin(self) -> str:
        """The model that the student is made of, as it comes: a ready one, or the one that its teacher is."""
        return self.student.model or (self.local_teacher.model if self.local_teacher else "")

    @property
    def caches_targets(self) -> bool:
        """Whether the student learns from more of its teacher than answers."""
        tells = self.local_teacher or (self.teacher and self.teacher.top_logprobs)
        return bool(tells) and self.matches() != "answers"

    @property
    def has_teacher_beside(self) -> bool:
        """Whether the teacher stays in memory while the student learns."""
        return self.caches_targets and self.distillation.has_teacher_beside

    @property
    def respells(self) -> bool:
        """Whether the student may have other tokens than a teacher, and learns what it says at each."""
        ready = self.student.model is not None or self.hears_several
        return self.caches_targets and self.matches() == "tokens" and ready

    @property
    def needs_same_tokens(self) -> list[str]:
        """What of `distillation` a ready student whose tokens are others than its teacher's cannot have."""
        asked, ready = self.distillation, self.student.model is not None
        return [
            name
            for name, is_asked in {
                "temperature": self.respells and asked.temperature != 1,
                "cache.kind": self.respells and asked.cache.kind == "sampled",
                "on_policy": self.respells and ready and asked.on_policy is not None,
                "representation": ready and self.has_teacher_beside and asked.representation is not None,
            }.items()
            if is_asked
        ]

    @property
    def leaves_out_long_rows(self) -> bool:
        """Whether a row longer than a model's context, of whatever it learns, may be left out or cut."""
        trained = (self.student.train, *(teacher.train for teacher in self.teachers.values()))
        return any(config.too_long != "stop" for config in trained if config)

    @property
    def state(self) -> Path:
        """Where runs leave their state."""
        return self.root / ".slmops"

    @property
    def store_root(self) -> Path:
        """Where the store stands: $SLMOPS_STORE, else in the project."""
        return Path(os.environ.get("SLMOPS_STORE") or self.state / "store")

    def matches(self) -> Literal["labels", "tokens", "answers"]:
        """What the student learns of the teacher: probabilities of labels or of tokens, or no more than its answers."""
        if self.distillation.match != "auto":
            return self.distillation.match
        return "labels" if self.task.closed else "tokens"

    def augmented(self) -> int:
        """How many varied texts are made for each text."""
        asked = int(self.task.closed) if self.synthesis.augment == "auto" else self.synthesis.augment
        return asked if self.task.varies else 0

    def shipped(self) -> str:
        """The stage whose artifact ships: the last optimization, else the student."""
        return self.optimization[-1].name if self.optimization else "student"

    def until(self, command: Command) -> str | None:
        """The stage with which a command ends; None for the last."""
        return {"run": None, "train": "teacher" if self.local_teacher else "student", "distill": "student"}[command]

    def subjects(self) -> list[str]:
        """What evidence compares; always what ships."""
        compare = list(self.evaluation.compare or self.comparable())
        return compare if self.shipped() in compare else [*compare, self.shipped()]

    def comparable(self) -> list[str]:
        """What evidence could compare."""
        teacher, teacher_int4 = (["teacher"], ["teacher_int4"]) if self.local_teacher else ([], [])
        optimizations = [optimization.name for optimization in self.optimization]
        untrained = ["untrained"] if self.student.rounds == 1 else []  # else it never was of the student's size
        return [*teacher, *untrained, "student", *optimizations, *teacher_int4, "classical"]


class _Named(Section):
    name: Name


def json_schema() -> dict[str, Any]:
    """The JSON schema of slmops.yaml (draft 2020-12), for editors."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:slmops:slmops.yaml"}
    return head | Project.model_json_schema() | {"title": "slmops.yaml"}


def starter_yaml(name: str) -> str:
    """What `slmops init` writes.

    Raises:
        ConfigError: `name` cannot be a project's.
    """
    validate(_Named, {"name": name}, "command line")
    plain = name[0].isalpha() and name.lower() not in ("true", "false", "null")  # else YAML may take it for a value
    written = name if plain else f'"{name}"'
    return f"""\
# `slmops plan` tells what this asks for, `slmops run` does it.
name: {written}
task: classification
data:
  train: data/labelled.jsonl         # {{"text": "…", "label": "…"}} a line
  unlabelled: data/unlabelled.jsonl  # {{"text": "…"}} a line; the teacher answers them
  test: data/test.jsonl              # never learned from
teacher: smollm2-135m-instruct       # or hf:owner/name, file:folder
student: {{from: teacher, layers: 8}}  # fewer layers: smaller and faster
optimization: int4                   # or int8, fp32
gates: {{keep_accuracy: 0.97}}         # less than that of the teacher's accuracy is not published
deployment: foundry-local
"""


def project_name(text: str) -> str:
    """A project's name made of a folder's.

    Raises:
        SlmopsError: there is no letter or digit in it.
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower())[:64].strip("-")
    if not name:
        raise SlmopsError(f"no name can be made of {text!r}", remedy="give one: slmops init --name NAME")
    return name
