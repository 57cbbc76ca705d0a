"""The project: slmops.yaml as one model, composed of the rooms' sections. Reads no data and runs nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from slmops.core.config import Config, Name, Section, nearest, one_or_many, validate
from slmops.core.errors import ConfigError, SlmopsError
from slmops.core.gates import parse_gates
from slmops.core.named import allow, is_named
from slmops.core.search import Choice, Trials
from slmops.data.config import DataConfig
from slmops.deployment.config import DeploymentConfig
from slmops.evaluation.config import EvaluationConfig
from slmops.evaluation.gates_config import GatesConfig, gates_of, most_of
from slmops.optimization.config import OptimizationConfig
from slmops.stages.engine import EngineConfig
from slmops.synthesis.config import SynthesisConfig
from slmops.tasks import TASKS
from slmops.tasks.config import TaskConfig
from slmops.training.distillation_config import DistillationConfig
from slmops.training.student_config import StudentConfig
from slmops.training.teacher_config import TeacherConfig, Teachers
from slmops.training.tracking_config import TrackingConfig

CHOICES_FILE = "choices.json"  # in the project's state: what was probed from the machine
MODELS_FILE = "models.json"  # and the identities of the base models
_STAGES = ("dataset", "teacher", "labels", "pruned", "targets", "certificate", "student", "evidence", "bundle")
_SUBJECTS = ("untrained", "teacher_int4", "classical")
_OF_ROUNDS = re.compile(r"(student|pruned)_\d+")
_OTHER_TOKENS = ("student.from", "student.model", "student.vocabulary")
NEED_SAME_TOKENS = {  # key of distillation → why, and what to do where they are not
    "temperature": (
        "of softened probabilities those of a token's pieces cannot be joined",
        "remove temperature, or cut the student from one teacher",
    ),
    "cache.kind": (
        "a student's tokens may be others than a teacher's, whose likeliest are spelled in them",
        "write kind: top, or cut the student from one teacher",
    ),
    "on_policy": (
        "the teacher scores what the student writes, token by token",
        "remove it, or cut the student from the teacher",
    ),
    "representation": (
        "states of the two are held against one another at each token",
        "remove it, or cut the student from the teacher",
    ),
}
_IN_STEPS = ("student.units", "student.width")
_WEIGHTS = "distillation.loss."
_SEARCHED = ("distillation", "student", "synthesis")


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
        """What the project names of the user's own: a task, losses, callbacks, metrics."""
        teachers = [teacher.train for teacher in self.teachers.values()]
        trained = [config for config in (self.student.train, *teachers) if config]
        names = [self.task.type, *self.evaluation.metrics, *(name for config in trained for name in config.own_code())]
        return [name for name in names if is_named(name)]

    def conflicts(self) -> Iterator[tuple[str, str, str]]:
        absent = "the teacher is not here" if self.teacher else "there is no teacher"
        if self.student.model is None and not self.local_teacher:
            remedy = "give the student a model" if self.teacher else "add teacher: …, or give the student a model"
            yield "student.from", absent, remedy
        if self.endpoints and not self.data.unlabelled:
            where = "teacher" if self.local_teacher else "teacher.endpoint"
            yield where, "there is nothing for an endpoint to answer", "add data.unlabelled"
        for name, teacher in self.teachers.items():
            if teacher.train and teacher.train.quantization_aware:
                where = "teacher.train.quantization_aware" if name == "teacher" else "teacher"
                yield where, "the teacher does not ship", "set it for the student"
        yield from self._idle_options()
        yield from self._distillation_conflicts()
        if self.teacher and self.teacher.endpoint:
            idle = {"synthesis"} if self.teacher.top_logprobs else {"synthesis", "distillation"}
            for name in sorted(idle & self.model_fields_set):
                yield name, "a teacher behind an endpoint answers, and no more", f"remove {name}"
            for name in ("on_policy", "representation"):
                if self.teacher.top_logprobs and getattr(self.distillation, name):
                    yield f"distillation.{name}", "the teacher is not here", f"remove {name}"
            if self.teacher.top_logprobs and self.distillation.temperature != 1:
                why = "an endpoint tells its probabilities at temperature 1"
                yield "distillation.temperature", why, "remove temperature"
        if self.synthesis.augment not in ("auto", 0) and not self.task.varies:
            why = f"a word less would change what {self.task.type} asks, or answers: nothing is varied"
            yield "synthesis.augment", why, "remove it; slmops data augment has the teacher write new texts"
        yield from self._name_conflicts()
        yield from self._search_conflicts()
        taught = self.local_teacher.train if self.local_teacher and self.student.model is None else None
        if taught and taught.method == "prompt" and self.student.train.method == "prompt":
            yield "student.train.method", "the teacher's virtual tokens are the student's, too", "write another method"
        if self.deployment and not self.optimization:
            yield "deployment", "there is no optimization to deploy", "write optimization: int4"
        yield from self._gate_conflicts(absent)

    def _idle_options(self) -> Iterator[tuple[str, str, str]]:
        """What is written of how models learn, and would do nothing."""
        trained = {"student": self.student.train} | {
            name: one.train for name, one in self.teachers.items() if one.train
        }
        for name, train in trained.items():
            where = f"{name}.train" if name in ("student", "teacher") else "teacher"
            for option in {"target_replication", "vocabulary_sample"} & train.model_fields_set:
                if self.task.type in TASKS and not self.task.closed and getattr(train, option):
                    why = f"answers of {self.task.type} are no closed set: {option} does nothing"
                    yield f"{where}.{option}", why, f"remove {option}"
        aware, usual = (
            self.student.train.quantization_aware,
            StudentConfig.model_fields["train"].default.quantization_aware,
        )
        shipped = self.optimization[-1] if self.optimization else None
        if aware not in (0, usual) and not (shipped and shipped.precision == "int4" and shipped.symmetric):
            why = "no symmetric int4 ships, so nothing is rounded"
            yield "student.train.quantization_aware", why, "write optimization: int4, or remove it"

    def _distillation_conflicts(self) -> Iterator[tuple[str, str, str]]:
        if "teachers" in self.distillation.model_fields_set and not self.hears_several:
            yield "distillation.teachers", "there is one teacher, or none", "remove it, or write teacher: [A, B]"
        votes = self.task.closed and self.matches() != "tokens" and self.distillation.teachers == "average"
        silent = [name for name, teacher in self.endpoints.items() if not teacher.top_logprobs]
        if silent and self.hears_several and not votes:
            remedy = "give it top_logprobs: 20, or average their answers to labels"
            yield "teacher", f"how sure {silent[0]} is of an answer is not asked, but heard", remedy
        if self.matches() == "labels" and self.distillation.loss.sorted_distance:
            why = "it does not look at which label is likely, and labels need no common tokens"
            yield "distillation.loss.sorted_distance", why, "write another loss, or match: tokens"
        if (
            self.hears_several or not self.local_teacher or self.student.vocabulary != "all"
        ):  # else their tokens may prove to be the same
            for name in self.needs_same_tokens:
                if name != "representation":
                    yield f"distillation.{name}", *NEED_SAME_TOKENS[name]
        if self.distillation.on_policy and self.distillation.on_policy.ratio == 1 and len(self.teachers) > 1:
            why = "the first teacher alone scores what the student writes, and nothing else is learned"
            yield "distillation.on_policy", why, "write a lower ratio, or one teacher"
        if self.teacher and self.teacher.top_logprobs and self.distillation.match == "answers":
            yield "distillation.match", "what teacher.top_logprobs tells is not learned so", "remove one of both"
        if self.distillation.match == "labels" and not self.task.closed:
            yield "distillation.match", f"{self.task.type} has no closed set of answers", "write match: tokens"
        if self.distillation.on_policy and self.matches() != "tokens":
            yield "distillation.on_policy", "what is written is scored token by token", "write match: tokens"
        if self.distillation.on_policy and not self.distillation.loss.follows_teacher:
            yield "distillation.loss", "what the student writes is learned by no loss", "give a divergence a weight"
        if self.distillation.on_policy and self.student.train.method == "prompt":
            why = "the student may write its virtual tokens, which the teacher does not know"
            yield "student.train.method", why, "write another method, or remove distillation.on_policy"
        if self.distillation.representation and self.student.model and self.student.vocabulary != "all":
            why = "the student's tokens are no longer a ready model's, and may never have been the teacher's"
            yield "student.vocabulary", why, "write vocabulary: all, or remove distillation.representation"
        train = self.student.train
        of_gold = {"loss": train.loss != "cross_entropy", "label_smoothing": bool(train.label_smoothing)}
        for name, asked in of_gold.items():
            if asked and self.caches_targets and not self.distillation.loss.cross_entropy:
                why = "it takes the place of cross_entropy, which distillation.loss leaves out"
                yield f"student.train.{name}", why, "give distillation.loss.cross_entropy a weight, or remove it"
        if self.matches() == "tokens" and "classical" in self.distillation.model_fields_set:
            why = "the classical baseline has an opinion of labels, not of tokens"
            yield "distillation.classical", why, "remove it, or write match: labels"
        if self.distillation.match == "answers":
            idle = {"representation", "loss", "temperature", "cache", "classical"}
            for name in sorted(idle & self.distillation.model_fields_set):
                yield f"distillation.{name}", "answers are learned as gold is, without it", f"remove {name}"

    def _gate_conflicts(self, absent: str) -> Iterator[tuple[str, str, str]]:
        subjects, asked = self.subjects(), self.gates.asked()
        own = [name.partition(":")[2] for name in self.evaluation.metrics if is_named(name)]
        known = [*GatesConfig.model_fields, *(gate for metric in own for gate in gates_of(metric))]
        for name in asked:
            if name not in known:
                yield f"gates.{name}", "there is no such field", nearest(name, known)
        for gate in parse_gates({name: limit for name, limit in asked.items() if name in known}):
            of_teacher = gate.kind in ("keep", "ratio") or gate.figure.endswith("_reduction")
            if of_teacher and "teacher" not in subjects:
                lacking = "evaluation.compare leaves the teacher out" if self.local_teacher else absent
                yield f"gates.{gate.name}", lacking, "compare with the teacher, or choose a min_ or max_ gate"
            elif gate.threshold > (most := most_of(gate, own)):
                what = f"{gate.threshold:g} is more than {most:g}"
                yield f"gates.{gate.name}", what, f"write {gate.threshold / 100:g} for {gate.threshold:g} %"

    def _search_conflicts(self) -> Iterator[tuple[str, str, str]]:
        if self.search and self.student.train.search:
            yield "student.train.search", "a search in every trial would search twice", "remove one of both"
            return
        if self.search and self.engine.workers > 1:
            yield "engine.workers", "trials are made by one process", "write engine: local"
        trained = {"student.train": self.student.train} | {name: one.train for name, one in self.teachers.items()}
        for name, train in trained.items() if self.engine.workers > 1 and self.engine.type != "ray" else ():
            if train and train.search:
                why = f"{name} is searched for: a trial that fails would end the other workers"
                yield "engine.workers", why, f"write engine: {{type: ray, workers: {self.engine.workers}}}, or local"
        for key, space in self.search.search_space.items() if self.search else ():
            if key.split(".")[0] not in _SEARCHED:
                why = f"{key} is no key of {', '.join(_SEARCHED)}"
                yield "search.search_space", why, "write it in full, as distillation.temperature"
                continue
            if key in _OTHER_TOKENS:
                why = f"{key} changes the tokens of an answer, by whose loss trials are judged"
                yield "search.search_space", why, f"remove {key}"
                continue
            if key in _IN_STEPS and not isinstance(space, Choice):
                why = f"{key} takes multiples of 32 only"
                yield "search.search_space", why, "write {type: choice, values: [512, 1024]}"
                continue
            for value in space.ends():
                try:
                    self.tried_out({key: value})
                except ConfigError as error:
                    yield "search.search_space", f"{key} cannot be {value!r}: {error.what}", error.remedy
                    break

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

    def _name_conflicts(self) -> Iterator[tuple[str, str, str]]:
        names = [optimization.name for optimization in self.optimization]
        for index, name in enumerate(names):
            where = f"optimization.{index}.name"
            if name in names[:index]:
                yield where, f"two optimizations are called {name}", "give one of them another name"
            elif name in (*_STAGES, *_SUBJECTS, *self.teachers, *self.endpoints) or _OF_ROUNDS.fullmatch(name):
                yield where, f"{name} is the name of something else in a run", "choose another name"
        for index, name in enumerate(self.evaluation.compare or ()):
            if name not in self._comparable():
                yield f"evaluation.compare.{index}", f"nothing is called {name!r}", nearest(name, self._comparable())

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
        compare = list(self.evaluation.compare or self._comparable())
        return compare if self.shipped() in compare else [*compare, self.shipped()]

    def _comparable(self) -> list[str]:
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
