"""The project: slmops.yaml as one model, composed of the rooms' sections. Reads no data and runs nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from slmops.core.config import Positions, Section, field_error, load_yaml, merged, validate
from slmops.core.errors import ConfigError, SlmopsError
from slmops.core.gates import parse_gates
from slmops.data.config import DataConfig
from slmops.deployment.config import DeploymentConfig
from slmops.evaluation.config import EvaluationConfig
from slmops.optimization.config import OptimizationConfig
from slmops.synthesis.config import SynthesisConfig
from slmops.tasks.config import TaskConfig
from slmops.training.config import DistillationConfig, TrainConfig

STAGES = ("dataset", "teacher", "labels", "pruned", "targets", "student", "teacher_int4", "evidence", "bundle")
_RESERVED = (*STAGES, "untrained", "classical")
TEACHER_TRAINING: dict[str, Any] = {"method": "lora"}
STUDENT_TRAINING: dict[str, Any] = {"method": "full", "epochs": 4, "learning_rate": 1e-3, "batch_size": 64}


class TeacherConfig(Section):
    """The big model."""

    main: ClassVar[str] = "model"

    model: str = Field(description="hf:, pypi:, file: or store: reference, or a name of the catalogue")
    train: TrainConfig | Literal[False] = Field(
        default_factory=lambda: TrainConfig(**TEACHER_TRAINING),
        description="how it is taught the task; false takes it as it is",
    )

    @field_validator("train", mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        return {**TEACHER_TRAINING, **value} if isinstance(value, dict) else value


class StudentConfig(Section):
    """The small model that ships."""

    from_: Literal["teacher"] | None = Field(None, alias="from", description="cut from the teacher")
    model: str | None = Field(None, description="or a ready small model")
    layers: int | None = Field(None, ge=1, le=1000, description="how many layers are kept, evenly spread")
    prompt: Literal["short", "full"] = Field("short", description="short: it needs no instruction, it learned it")
    train: TrainConfig = Field(default_factory=lambda: TrainConfig(**STUDENT_TRAINING), description="how it learns")

    @field_validator("train", mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        return {**STUDENT_TRAINING, **value} if isinstance(value, dict) else value


class Project(Section):
    """All that slmops.yaml can say."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="of the project; its artifacts carry it")
    seed: int = Field(7, ge=0, lt=2**32, description="of everything that is drawn")
    engine: Literal["local"] = Field("local", description="where work runs")
    task: TaskConfig = TaskConfig()
    data: DataConfig
    teacher: TeacherConfig | None = None
    synthesis: SynthesisConfig = SynthesisConfig()
    student: StudentConfig
    distillation: DistillationConfig = DistillationConfig()
    optimization: tuple[OptimizationConfig, ...] = (OptimizationConfig(name="int4"),)
    evaluation: EvaluationConfig = EvaluationConfig()
    gates: dict[str, float | dict[str, float | str]] = Field({}, description="keep_X, min_X, max_X, max_X_ratio")
    deployment: tuple[DeploymentConfig, ...] = ()
    variants: dict[str, dict[str, Any]] = Field({}, description="name: overrides, laid over all of the above")

    _path: Path = PrivateAttr(default=Path("slmops.yaml"))
    _positions: Positions = PrivateAttr(default_factory=dict)

    @field_validator("optimization", "deployment", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else [value]

    @model_validator(mode="after")
    def _fits_together(self) -> Project:
        names = [optimization.name for optimization in self.optimization]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two optimizations are named {name!r}; give one of them another name")
            if name in _RESERVED:
                raise ValueError(f"an optimization cannot be named {name!r}: a stage is named so")
        student = self.student
        if (student.model is None) == (student.from_ is None):
            raise ValueError("student needs either from: teacher or model, and not both")
        if student.from_ and self.teacher is None:
            raise ValueError("student.from is teacher, but there is no teacher")
        known = self._comparable()
        for name in self.evaluation.compare or ():
            if name not in known:
                raise ValueError(f"evaluation.compare names {name!r}; known are {', '.join(known)}")
        if len(self.deployment) > 1:
            raise ValueError("more than one deployment is not supported yet")
        return self

    @classmethod
    def load(cls, path: Path, variant: str | None = None) -> Project:
        """The project of a slmops.yaml, or one of its variants; every variant is checked.

        Raises:
            ConfigError: with every problem found, one a line.
        """
        data, positions = load_yaml(path)
        project = cls._validated(data, path, positions)
        variants = {
            name: cls._validated(merged(data, overrides) | {"variants": {}}, path, positions)
            for name, overrides in project.variants.items()
        }
        if variant is None:
            return project
        if variant not in variants:
            known = ", ".join(variants) or "none"
            raise ConfigError(f"there is no variant {variant!r}", where=path.name, remedy=f"known are: {known}")
        return variants[variant]

    @classmethod
    def _validated(cls, data: dict[str, Any], path: Path, positions: Positions) -> Project:
        project = validate(data, cls, path, positions)
        root = path.resolve().parent
        places = {name: (root / value).resolve() for name, value in project.data if isinstance(value, Path)}
        project = project.model_copy(update={"data": project.data.model_copy(update=places)})
        project._path, project._positions = path.resolve(), positions
        try:
            parse_gates(project.gates)
        except ConfigError as error:
            raise project.error(error.where, error.what, error.remedy) from error
        return project

    def error(self, field: str, what: str, remedy: str) -> ConfigError:
        """An error at a dotted field of the file."""
        return field_error(self._path, self._positions, field, what, remedy)

    @property
    def root(self) -> Path:
        return self._path.parent

    @property
    def path(self) -> Path:
        return self._path

    @property
    def state(self) -> Path:
        """Where runs leave their state."""
        return self.root / ".slmops"

    @property
    def store_root(self) -> Path:
        return Path(os.environ.get("SLMOPS_STORE") or self.state / "store")

    def shipped(self) -> str:
        """The stage whose artifact ships: the last optimization, else the student."""
        return self.optimization[-1].name if self.optimization else "student"

    def subjects(self) -> list[str]:
        """What evidence compares."""
        compare = list(self.evaluation.compare or self._comparable())
        return compare if self.shipped() in compare else [*compare, self.shipped()]

    def _comparable(self) -> list[str]:
        names = ["teacher"] if self.teacher else []
        names += ["untrained", "student", *(optimization.name for optimization in self.optimization)]
        names += ["teacher_int4"] if self.teacher else []
        return [*names, "classical"]


def json_schema() -> dict[str, Any]:
    """The JSON schema of slmops.yaml, for editors."""
    schema = Project.model_json_schema(by_alias=True)
    for name in ("optimization", "deployment"):
        many = schema["properties"][name]
        schema["properties"][name] = {"anyOf": [many, many["items"]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "slmops.yaml", **schema}


def starter_yaml(name: str) -> str:
    """What `slmops init` writes."""
    return f"""\
# One file says it all; `slmops plan` shows what it means, `slmops run` does it.
name: {name}
task: classification
data:
  train: data/labelled.jsonl        # {{"text": …, "label": …}} a line
  unlabelled: data/unlabelled.jsonl # {{"text": …}} a line; the teacher labels them
  test: data/test.jsonl             # never learned from
teacher: smollm2-135m-instruct      # or hf:owner/name, file:folder
student: {{from: teacher, layers: 6}}
optimization: int4
gates: {{keep_accuracy: 0.97}}        # a figure that falls short ends the run with exit code 3
deployment: foundry-local
"""


def project_name(text: str) -> str:
    """A project name from a folder's."""
    name = "".join(letter if letter.isalnum() else "-" for letter in text.lower()).strip("-")[:64]
    if not name:
        raise SlmopsError(f"no name can be made of {text!r}", remedy="give one: slmops init --name NAME")
    return name
