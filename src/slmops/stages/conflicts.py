"""What does not fit together in a project, or would do nothing: told with its field before anything runs.

In comes a project whose sections are good by themselves; out go conflicts. Reads no data and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from slmops.core.config import nearest
from slmops.core.errors import ConfigError
from slmops.core.gates import parse_gates
from slmops.core.named import is_named
from slmops.core.search import Choice
from slmops.evaluation.gates_config import GatesConfig, gates_of, most_of
from slmops.tasks import TASKS
from slmops.training.student_config import StudentConfig

if TYPE_CHECKING:
    from slmops.stages.project import Project

_STAGES = (
    "dataset",
    "teacher",
    "labels",
    "vocabulary",
    "pruned",
    "targets",
    "certificate",
    "student",
    "evidence",
    "bundle",
)
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
_SEARCHED = ("distillation", "student", "synthesis")


def conflicts_of(project: Project) -> Iterator[tuple[str, str, str]]:
    """(field, what is wrong, remedy) of whatever does not fit together, or would do nothing."""
    absent = "the teacher is not here" if project.teacher else "there is no teacher"
    if project.student.model is None and not project.local_teacher:
        remedy = "give the student a model" if project.teacher else "add teacher: …, or give the student a model"
        yield "student.from", absent, remedy
    if project.endpoints and not project.data.unlabelled:
        where = "teacher" if project.local_teacher else "teacher.endpoint"
        yield where, "there is nothing for an endpoint to answer", "add data.unlabelled"
    for name, teacher in project.teachers.items():
        if teacher.train and teacher.train.quantization_aware:
            where = "teacher.train.quantization_aware" if name == "teacher" else "teacher"
            yield where, "the teacher does not ship", "set it for the student"
    yield from _idle(project)
    yield from _of_distillation(project)
    if project.teacher and project.teacher.endpoint:
        idle = {"synthesis"} if project.teacher.top_logprobs else {"synthesis", "distillation"}
        for name in sorted(idle & project.model_fields_set):
            yield name, "a teacher behind an endpoint answers, and no more", f"remove {name}"
        for name in ("on_policy", "representation"):
            if project.teacher.top_logprobs and getattr(project.distillation, name):
                yield f"distillation.{name}", "the teacher is not here", f"remove {name}"
        if project.teacher.top_logprobs and project.distillation.temperature != 1:
            why = "an endpoint tells its probabilities at temperature 1"
            yield "distillation.temperature", why, "remove temperature"
    if project.synthesis.augment not in ("auto", 0) and not project.task.varies:
        why = f"a word less would change what {project.task.type} asks, or answers: nothing is varied"
        yield "synthesis.augment", why, "remove it; slmops data augment has the teacher write new texts"
    elif project.synthesis.vary and not project.augmented():
        yield "synthesis.vary", "nothing is varied", "give synthesis.augment, how many texts are made of each"
    yield from _of_names(project)
    yield from _of_search(project)
    taught = project.local_teacher.train if project.local_teacher and project.student.model is None else None
    if taught and taught.method == "prompt" and project.student.train.method == "prompt":
        yield "student.train.method", "the teacher's virtual tokens are the student's, too", "write another method"
    if project.deployment and not project.optimization:
        yield "deployment", "there is no optimization to deploy", "write optimization: int4"
    yield from _of_gates(project, absent)


def _idle(project: Project) -> Iterator[tuple[str, str, str]]:
    """What is written of how models learn, and would do nothing."""
    trained = {"student": project.student.train} | {
        name: one.train for name, one in project.teachers.items() if one.train
    }
    for name, train in trained.items():
        where = f"{name}.train" if name in ("student", "teacher") else "teacher"
        for option in {"target_replication", "vocabulary_sample"} & train.model_fields_set:
            if project.task.type in TASKS and not project.task.closed and getattr(train, option):
                why = f"answers of {project.task.type} are no closed set: {option} does nothing"
                yield f"{where}.{option}", why, f"remove {option}"
    aware, usual = (
        project.student.train.quantization_aware,
        StudentConfig.model_fields["train"].default.quantization_aware,
    )
    shipped = project.optimization[-1] if project.optimization else None
    if aware not in (0, usual) and not (shipped and shipped.precision == "int4" and shipped.symmetric):
        why = "no symmetric int4 ships, so nothing is rounded"
        yield "student.train.quantization_aware", why, "write optimization: int4, or remove it"


def _of_distillation(project: Project) -> Iterator[tuple[str, str, str]]:
    if "teachers" in project.distillation.model_fields_set and not project.hears_several:
        yield "distillation.teachers", "there is one teacher, or none", "remove it, or write teacher: [A, B]"
    votes = project.task.closed and project.matches() != "tokens" and project.distillation.teachers == "average"
    silent = [name for name, teacher in project.endpoints.items() if not teacher.top_logprobs]
    if silent and project.hears_several and not votes:
        remedy = "give it top_logprobs: 20, or average their answers to labels"
        yield "teacher", f"how sure {silent[0]} is of an answer is not asked, but heard", remedy
    if project.matches() == "labels" and project.distillation.loss.sorted_distance:
        why = "it does not look at which label is likely, and labels need no common tokens"
        yield "distillation.loss.sorted_distance", why, "write another loss, or match: tokens"
    if (
        project.hears_several or not project.local_teacher or project.student.vocabulary != "all"
    ):  # else their tokens may prove to be the same
        for name in project.needs_same_tokens:
            if name != "representation":
                yield f"distillation.{name}", *NEED_SAME_TOKENS[name]
    if project.distillation.on_policy and project.distillation.on_policy.ratio == 1 and len(project.teachers) > 1:
        why = "the first teacher alone scores what the student writes, and nothing else is learned"
        yield "distillation.on_policy", why, "write a lower ratio, or one teacher"
    if project.teacher and project.teacher.top_logprobs and project.distillation.match == "answers":
        yield "distillation.match", "what teacher.top_logprobs tells is not learned so", "remove one of both"
    if project.distillation.match == "labels" and not project.task.closed:
        yield "distillation.match", f"{project.task.type} has no closed set of answers", "write match: tokens"
    if project.distillation.on_policy and project.matches() != "tokens":
        yield "distillation.on_policy", "what is written is scored token by token", "write match: tokens"
    if project.distillation.on_policy and not project.distillation.loss.follows_teacher:
        yield "distillation.loss", "what the student writes is learned by no loss", "give a divergence a weight"
    if project.distillation.on_policy and project.student.train.method == "prompt":
        why = "the student may write its virtual tokens, which the teacher does not know"
        yield "student.train.method", why, "write another method, or remove distillation.on_policy"
    if project.distillation.representation and project.student.model and project.student.vocabulary != "all":
        why = "the student's tokens are no longer a ready model's, and may never have been the teacher's"
        yield "student.vocabulary", why, "write vocabulary: all, or remove distillation.representation"
    train = project.student.train
    of_gold = {"loss": train.loss != "cross_entropy", "label_smoothing": bool(train.label_smoothing)}
    for name, asked in of_gold.items():
        if asked and project.caches_targets and not project.distillation.loss.cross_entropy:
            why = "it takes the place of cross_entropy, which distillation.loss leaves out"
            yield f"student.train.{name}", why, "give distillation.loss.cross_entropy a weight, or remove it"
    if project.matches() == "tokens" and "classical" in project.distillation.model_fields_set:
        why = "the classical baseline has an opinion of labels, not of tokens"
        yield "distillation.classical", why, "remove it, or write match: labels"
    if project.distillation.match == "answers":
        idle = {"representation", "loss", "temperature", "cache", "classical"}
        for name in sorted(idle & project.distillation.model_fields_set):
            yield f"distillation.{name}", "answers are learned as gold is, without it", f"remove {name}"


def _of_gates(project: Project, absent: str) -> Iterator[tuple[str, str, str]]:
    subjects, asked = project.subjects(), project.gates.asked()
    own = [name.partition(":")[2] for name in project.evaluation.metrics if is_named(name)]
    known = [*GatesConfig.model_fields, *(gate for metric in own for gate in gates_of(metric))]
    for name in asked:
        if name not in known:
            yield f"gates.{name}", "there is no such field", nearest(name, known)
    for gate in parse_gates({name: limit for name, limit in asked.items() if name in known}):
        of_teacher = gate.kind in ("keep", "ratio") or gate.figure.endswith("_reduction")
        if of_teacher and "teacher" not in subjects:
            lacking = "evaluation.compare leaves the teacher out" if project.local_teacher else absent
            yield f"gates.{gate.name}", lacking, "compare with the teacher, or choose a min_ or max_ gate"
        elif gate.threshold > (most := most_of(gate, own)):
            what = f"{gate.threshold:g} is more than {most:g}"
            yield f"gates.{gate.name}", what, f"write {gate.threshold / 100:g} for {gate.threshold:g} %"


def _of_search(project: Project) -> Iterator[tuple[str, str, str]]:
    if project.search and project.student.train.search:
        yield "student.train.search", "a search in every trial would search twice", "remove one of both"
        return
    if project.search and project.engine.workers > 1:
        yield "engine.workers", "trials are made by one process", "write engine: local"
    trained = {"student.train": project.student.train} | {name: one.train for name, one in project.teachers.items()}
    for name, train in trained.items() if project.engine.workers > 1 and project.engine.type != "ray" else ():
        if train and train.search:
            why = f"{name} is searched for: a trial that fails would end the other workers"
            yield "engine.workers", why, f"write engine: {{type: ray, workers: {project.engine.workers}}}, or local"
    for key, space in project.search.search_space.items() if project.search else ():
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
                project.tried_out({key: value})
            except ConfigError as error:
                yield "search.search_space", f"{key} cannot be {value!r}: {error.what}", error.remedy
                break


def _of_names(project: Project) -> Iterator[tuple[str, str, str]]:
    names = [optimization.name for optimization in project.optimization]
    for index, name in enumerate(names):
        where = f"optimization.{index}.name"
        if name.casefold() in (other.casefold() for other in names[:index]):  # files are called so, too
            yield where, f"two optimizations are called {name}", "give one of them another name"
        elif name in (*_STAGES, *_SUBJECTS, *project.teachers, *project.endpoints) or _OF_ROUNDS.fullmatch(name):
            yield where, f"{name} is the name of something else in a run", "choose another name"
    for index, name in enumerate(project.evaluation.compare or ()):
        if name not in project.comparable():
            yield f"evaluation.compare.{index}", f"nothing is called {name!r}", nearest(name, project.comparable())
