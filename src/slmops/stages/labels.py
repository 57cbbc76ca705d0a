"""`labels`: the teacher's answers to unlabelled and augmented records, with its confidence; doubtful ones are rejected.

Where answers are a closed set, the validation rows are answered, too, so that what follows can tell how far the teacher
is to be believed. An endpoint is asked the unlabelled records alone; those beside it are heard of all others.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

from slmops.core.artifact import hash_json
from slmops.core.named import code_of
from slmops.core.pipeline import Estimate, Stage, Work
from slmops.data.augment import augment_texts, own_variation
from slmops.data.records import without_tokens, write_records
from slmops.runtimes.local import LocalModel
from slmops.runtimes.remote import RemoteModel
from slmops.stages.estimates import forward_minutes
from slmops.stages.parts import one_of_several, read_part, read_task, read_task_spec, warn_of_long
from slmops.stages.project import Project
from slmops.synthesis.label import LONGER, answer_records
from slmops.synthesis.remote import answer_remotely, tokens_used
from slmops.synthesis.together import hear_together
from slmops.tasks.types import Labels, Record
from slmops.training.teacher_config import TeacherConfig

_REMOTE_MINUTES = 0.5
_MANY = 1 / 3  # of the answers: more that are rejected are told


def labels_stage(project: Project) -> Stage:
    synthesis, teacher = project.synthesis, project.teacher
    if teacher and teacher.endpoint:
        asked = _asked(teacher)
        if teacher.top_logprobs:
            asked |= {"match": project.matches()}
        make = partial(_make_remotely, project, teacher)
        return Stage("labels", 3, {"dataset": "dataset"}, asked, make, Estimate(_REMOTE_MINUTES, 1))
    section: dict[str, Any] = {
        "accept": synthesis.accept.model_dump(),
        "augment": project.augmented(),
        "seed": project.seed,
    }
    if synthesis.vary:
        section["vary"] = [synthesis.vary, code_of(synthesis.vary, "synthesis.vary")]
    if project.hears_several:
        section["teachers"] = project.distillation.teachers
    if project.endpoints:
        section["endpoints"] = {name: _asked(other) for name, other in project.endpoints.items()}
    minutes = forward_minutes(project, "labels") * len(project.teachers) + _REMOTE_MINUTES * len(project.endpoints)
    return Stage(
        "labels",
        7,
        {"dataset": "dataset"} | {name: name for name in project.teachers},
        section,
        lambda work: _make(project, work),
        Estimate(minutes, 1),
        ("number_format", "threads"),
    )


def _asked(teacher: TeacherConfig) -> dict[str, Any]:
    """What decides an endpoint's answers. Whether their tokens are learned does not: nothing is paid again for that."""
    asked: dict[str, Any] = {"endpoint": teacher.endpoint, "model": teacher.model, "sees": teacher.sees}
    return asked | ({"top_logprobs": teacher.top_logprobs} if teacher.top_logprobs else {})


def _make(project: Project, work: Work) -> None:
    dataset, synthesis = work.inputs["dataset"], project.synthesis
    task = read_task(dataset)
    unlabelled = read_part(dataset, "unlabelled")
    augmented = []
    if task.varied is not None:
        texts = [*read_part(dataset, "train"), *unlabelled]
        held_out = [*read_part(dataset, "validation"), *read_part(dataset, "test")]
        vary = own_variation(synthesis.vary) if synthesis.vary else None
        augmented = augment_texts(texts, project.augmented(), work.seed, task.varied, held_out, vary)
    validation = read_part(dataset, "validation") if isinstance(task.grammar, Labels) else []
    asked, accept, heard = [*validation, *unlabelled, *augmented], synthesis.accept.confidence, []
    threads, number_format = work.choices["threads"], work.choices["number_format"]
    first, last = len(validation), len(validation) + len(unlabelled)
    for name in project.teachers:
        report = one_of_several(work.progress, name, list(project.teachers), "messages")
        model = LocalModel(work.inputs[name], threads=threads, number_format=number_format)
        prompt = project.prompt_of(name)
        said = answer_records(model, task, asked, by=name, prompt=prompt, accept_confidence=accept, report=report)
        del model  # before the next one is loaded
        if longer := [one.text for one in said[first:last] if one.answers[-1].rejected == LONGER]:
            warn_of_long(work.progress, "unlabelled", longer, f"{name} cannot read them, left out")
        heard.append(said)
    parts = (slice(first), slice(first, last), slice(last, None))
    known, given, varied = ([answered[part] for answered in heard] for part in parts)
    given += [_ask_endpoint(project, work, other, name, unlabelled) for name, other in project.endpoints.items()]
    held_out, answered, more = (_together(project, said) for said in (known, given, varied))
    _write(work, [one for one in held_out if all(answer.label_probs for answer in one.answers)], answered, more)


def _together(project: Project, heard: list[list[Record]]) -> list[Record]:
    how, accept = project.distillation.teachers, project.synthesis.accept.confidence
    return heard[0] if len(heard) == 1 else hear_together(heard, how, accept)


def _make_remotely(project: Project, teacher: TeacherConfig, work: Work) -> None:
    answered = _ask_endpoint(project, work, teacher, "", read_part(work.inputs["dataset"], "unlabelled"))
    _write(work, [], answered if project.matches() == "tokens" else without_tokens(answered), [])


def _ask_endpoint(
    project: Project, work: Work, teacher: TeacherConfig, name: str, records: list[Record]
) -> list[Record]:
    """The records with the answers of an endpoint, which has a `name` among several. They are kept in the project's
    state: who changes another part of the project, or searches, does not pay for them again."""
    dataset = work.inputs["dataset"]
    task = read_task(dataset)
    kept = project.state / "answers" / f"{hash_json([_asked(teacher), read_task_spec(dataset)])[:16]}.jsonl"
    kept.parent.mkdir(exist_ok=True)
    with closing(_remote(teacher)) as model:
        answered = answer_remotely(
            model.ask_all,
            task,
            records,
            by=name or teacher.model,
            masked=teacher.sees == "masked",
            kept=kept,
            report=lambda done, total: work.progress(done / total, f"{name} {done}/{total} messages".lstrip()),
        )
    used = tokens_used(kept, records)
    if teacher.usd_per_million_tokens and used.answers < len(answered):
        told = f"the endpoint told the tokens of {used.answers} of {len(answered)} answers"
        work.progress(1.0, f"warning: {told}: its bill is of those alone")
    for figure, count in (("answers", used.answers), ("read_tokens", used.read), ("written_tokens", used.wrote)):
        work.measure(figure, figure.rpartition("_")[2], float(count), subject=f"endpoint {name}".rstrip())
    return answered


def _remote(teacher: TeacherConfig) -> RemoteModel:
    assert teacher.endpoint is not None
    return RemoteModel(teacher.endpoint, teacher.model, teacher.api_key_env, top_logprobs=teacher.top_logprobs)


def _write(work: Work, held_out: list[Record], unlabelled: list[Record], augmented: list[Record]) -> None:
    for kind, rows in (("unlabelled", unlabelled), ("augmented", augmented)):
        reasons = [record.answers[-1].rejected for record in rows if record.answers[-1].rejected is not None]
        rejected = len(reasons)
        if rejected > _MANY * len(rows):
            said = f"{rejected} of {len(rows)} answers to {kind} texts are rejected and not learned, as: {reasons[0]}"
            work.progress(1.0, f"warning: {said}")
        work.measure("accepted", "rows", float(len(rows) - rejected), subject=kind)
        work.measure("rejected", "rows", float(rejected), subject=kind, reason="doubtful or no answer")
    write_records(work.out / "validation.jsonl", held_out)
    write_records(work.out / "labels.jsonl", [*unlabelled, *augmented])
