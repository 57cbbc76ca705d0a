"""`targets`: what the student is to say to labelled, accepted and augmented texts, cached on disk.

Either the probability of each label, by the teacher and the classical baseline together, or the teacher's likeliest
tokens at every answer token (`distillation.match`). Without a closed set of answers there are only tokens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slmops.core.errors import need
from slmops.core.files import write_whole
from slmops.core.pipeline import Estimate, Stage, Work
from slmops.core.statistics import bootstrap
from slmops.data.records import read_records, without_tokens, write_records
from slmops.models.families import encode_answer, family_of
from slmops.models.forward import load_causal_lm
from slmops.models.packing import Batch, Example
from slmops.models.spelling import Spelling
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.vocabulary import heard_tokens
from slmops.stages.estimates import forward_minutes
from slmops.stages.parts import answered_examples, one_of_several, read_answered, read_task, readable, warn_of_long
from slmops.stages.project import Project
from slmops.synthesis.together import BY as ALL
from slmops.synthesis.told import spell_out
from slmops.tasks.types import Labels, Record, Task, TokenLogprobs
from slmops.training.combined import combine_targets
from slmops.training.label_targets import teach_labels, write_label_targets
from slmops.training.losses import Taught
from slmops.training.opinions import best_weight, mix, surprise
from slmops.training.respelled import END, Said, respell
from slmops.training.targets import (
    Sureness,
    cache_respelled_targets,
    cache_spelled,
    cache_targets,
    is_cached,
    read_cache,
    teach_from_cache,
)

_MAX_TOKENS = 1024
Rows = list[tuple[Record, str]]  # a record with the answer that is learned


@dataclass(frozen=True)
class _Reading:
    """What every teacher reads, in the student's tokens (`own`), and how many of the likeliest are kept of each."""

    task: Task
    rows: Rows
    trusted: set[str]
    own: Tokenizer
    learned: Sequence[Example]
    k: int


def targets_stage(project: Project) -> Stage:
    distillation = project.distillation
    inputs, minutes = {"dataset": "dataset", "labels": "labels"}, 0.2
    choices: tuple[str, ...] = ()
    section: dict[str, Any] = {
        "match": project.matches(),
        "temperature": distillation.temperature,
    }
    if project.matches() == "labels":
        section["classical"] = distillation.classical
    else:
        section["cache"] = distillation.cache.model_dump()
        section |= {"seed": project.seed} if distillation.cache.kind == "sampled" else {}
        inputs |= {name: name for name in project.teachers}
        own = "vocabulary" if project.student.vocabulary != "all" else "pruned" if project.respells else None
        inputs |= {own: own} if own else {}  # what knows the student's tokens
        section |= {"teachers": distillation.teachers} if project.hears_several else {}
        section |= {"too_long": "leave out"} if project.leaves_out_long_rows else {}
        choices = ("number_format", "threads")
        minutes = forward_minutes(project, "targets") * len(project.teachers)
    return Stage("targets", 6, inputs, section, lambda work: _make(project, work), Estimate(minutes, 5), choices)


def read_answers(folder: Path) -> Rows:
    """The records of the cache with the answer that is learned."""
    answers = json.loads((folder / "answers.json").read_text("utf-8"))
    return [(record, answers[record.id]) for record in read_records(folder / "records.jsonl")]


def accepted(labels: Path, known: Collection[str]) -> list[Record]:
    """The records whose answer by the teacher was not rejected, but for those whose text is known."""
    answered = read_records(labels / "labels.jsonl")
    return [record for record in answered if record.answers[-1].rejected is None and record.text not in known]


def open_targets(
    folder: Path, examples: Sequence[Example], task: Task, tokenizer: Tokenizer
) -> Callable[[Batch], Taught]:
    """What the stage made, as a teacher of `examples`."""
    if not _is_of_labels(folder):
        return teach_from_cache(folder, examples)
    assert isinstance(task.grammar, Labels)
    family = family_of(tokenizer)
    answers = {label: encode_answer(tokenizer, family, label) for label in task.grammar.values}
    return teach_labels(folder, examples, answers)


def _is_of_labels(folder: Path) -> bool:
    return "labels" in json.loads((folder / "targets.json").read_text("utf-8"))


def _make(project: Project, work: Work) -> None:
    dataset = work.inputs["dataset"]
    task = read_task(dataset)
    gold = read_answered(dataset, "train", task)
    answered = accepted(work.inputs["labels"], {record.text for record, _ in gold})
    trusted = {record.id for record, _ in gold} | {record.id for record in answered if not record.source.made_from}
    if project.matches() == "labels":
        rows = _match_labels(project, work, task, gold, answered, trusted)
    else:
        rows = [*gold, *((record, record.answers[-1].text) for record in answered)]
        for name in project.teachers if project.leaves_out_long_rows else ():
            kept = readable(work.inputs[name], task, rows, project.prompt_of(name))
            known = {record.id for record, _ in kept}
            if longer := [record.text for record, _ in rows if record.id not in known]:
                warn_of_long(work.progress, "targets", longer, f"{name} cannot read them, left out")
            rows = kept
        _match_tokens(project, work, task, rows, trusted)
    work.measure("rows", "rows", float(len(trusted)), subject="trusted")
    work.measure("rows", "rows", float(len(rows) - len(trusted)), subject="augmented")
    write_records(work.out / "records.jsonl", without_tokens(record for record, _ in rows))
    answers = {record.id: answer for record, answer in rows}
    write_whole(work.out / "answers.json", json.dumps(answers, ensure_ascii=False, sort_keys=True))


def _match_labels(
    project: Project, work: Work, task: Task, gold: Rows, answered: list[Record], trusted: set[str]
) -> Rows:
    """Gold rows keep their label; on all others teacher and classical baseline are heard together."""
    assert isinstance(task.grammar, Labels)
    labels = task.grammar.values
    validation = read_records(work.inputs["labels"] / "validation.jsonl")
    asked = [*validation, *answered]
    teacher = _said_by(asked, labels)
    work.progress(0.1, "asking the classical baseline")
    held_out = slice(0, len(validation))
    truth = np.array([labels.index(str(record.gold)) for record in validation])
    opinions = {name: _said_by(asked, labels, name) for name in project.teachers if len(project.teachers) > 1}
    opinions[ALL if opinions else "teacher"] = teacher
    weight = project.distillation.classical
    unknown = weight == "auto" and not validation  # a teacher behind an address is not asked what is known
    other = None
    if not unknown and (fitted := task.fit_baseline([record for record, _ in gold])):
        other = fitted.probabilities([task.features(record) for record in asked])
        if weight == "auto":
            weight = best_weight(teacher[held_out], other[held_out], truth)
        opinions |= {"classical": other, "together": mix(teacher, other, weight)}
        work.measure("classical_weight", "", weight)
    for subject, said in opinions.items() if validation else ():
        right = (said[held_out].argmax(1) == truth)[:, None]
        share = bootstrap(right, lambda sums: sums[..., 0] / len(truth), seed=work.seed, bounds=(0, 1))
        work.measure("validation_accuracy", "share", share, subject=subject)
        work.measure("validation_surprise", "nats", surprise(said[held_out], truth), subject=subject)
    said = (teacher if other is None else opinions["together"])[len(validation) :]
    rows = [*gold, *((record, labels[best]) for record, best in zip(answered, said.argmax(1), strict=True))]
    sure = np.eye(len(labels))[[labels.index(answer) for _, answer in gold]]
    names = [record.id for record, _ in rows]
    probabilities = np.concatenate([sure, said])
    write_label_targets(work.out, labels, names, probabilities, trusted, project.distillation.temperature)
    return rows


def _said_by(asked: Sequence[Record], labels: Sequence[str], by: str | None = None) -> np.ndarray:
    """(record, label) probabilities by one of several teachers, or by all together, whose answer is the last one."""
    answers = [next(one for one in reversed(record.answers) if by in (None, one.by)) for record in asked]
    sure = [answer.label_probs or {answer.text: 1.0} for answer in answers]  # who tells no probabilities is believed
    return np.array([[of.get(label, 0.0) for label in labels] for of in sure]).reshape(-1, len(labels))


def _match_tokens(project: Project, work: Work, task: Task, rows: Rows, trusted: set[str]) -> None:
    """Each teacher reads every row, with the answer that is learned behind it: what it says at each of its tokens, in
    those of the student."""
    need("torch", "train").set_num_threads(work.choices["threads"])
    student = _of_student(work)
    own = Tokenizer(student or work.inputs["teacher"])
    learned = answered_examples(own, task, rows, project.prompt_of("student" if student else "teacher"))
    k = min(project.distillation.cache.k(sum(sum(example.learn) for example in learned)), own.vocabulary_size)
    if not project.teachers:
        spelling = Spelling(own)
        cache_spelled(_heard(rows, learned, spelling), learned, trusted, work.out, k, 1.0)
        _tell_unlike(work, "teacher", work.out, rows)
        return
    reading, several = _Reading(task, rows, trusted, own, learned, k), project.hears_several
    folders = {name: work.scratch / name if several else work.out for name in (*project.teachers, *project.endpoints)}
    for name, folder in folders.items():
        folder.mkdir(exist_ok=True)
        if name in project.endpoints:
            _recall(work, name, reading, folder)
            continue
        if not is_cached(folder):  # of several, those that were read before a kill
            _ask(project, work, name, reading, folder)
        _tell_unlike(work, name, folder, rows)
    if several:
        combine_targets(list(folders.values()), work.out, k, project.distillation.teachers)


def _of_student(work: Work) -> Path | None:
    """A folder with the student's tokenizer, where its tokens may be others than the teacher's."""
    return work.inputs.get("vocabulary", work.inputs.get("pruned"))


def _ask(project: Project, work: Work, name: str, reading: _Reading, folder: Path) -> None:
    """Caches what one teacher says. Its tokens are the student's, or these are some of the first one's, or its are
    spelled in them."""
    tokenizer, student, own = Tokenizer(work.inputs[name]), _of_student(work), reading.own
    prompt = project.prompt_of(name)
    examples = answered_examples(tokenizer, reading.task, reading.rows, prompt) if student else reading.learned
    teacher = load_causal_lm(work.inputs[name], work.choices["number_format"])
    temperature = project.distillation.temperature
    report = one_of_several(work.progress, name, list(project.teachers), "texts")
    is_trimmed = name == "teacher" and project.student.model is None and project.student.vocabulary != "all"
    if is_trimmed or own.vocabulary_id == tokenizer.vocabulary_id:
        cache_targets(
            teacher,
            examples,
            reading.trusted,
            folder,
            k=reading.k,
            temperature=temperature,
            max_tokens=_MAX_TOKENS,
            kind=project.distillation.cache.kind,
            vocabulary=heard_tokens(student, work.inputs[name]) if student else None,
            seed=work.seed,
            report=report,
        )
        return
    cache_respelled_targets(
        teacher,
        examples,
        reading.learned,
        (Spelling(own), Spelling(tokenizer)),
        reading.trusted,
        folder,
        k=reading.k,
        temperature=temperature,
        max_tokens=_MAX_TOKENS,
        report=report,
    )


def _heard(
    rows: Rows, learned: Sequence[Example], spelling: Spelling
) -> Iterator[tuple[str, list[dict[int, float]] | None]]:
    """What a teacher behind an address has told of its own answers' tokens; gold rows, which it was not asked, are what
    they are."""
    for (record, text), example in zip(rows, learned, strict=True):
        tokens = record.answers[-1].token_logprobs if record.answers else None
        if tokens is None:
            yield record.id, [{token: 1.0} for token in example.answer]
        else:
            yield record.id, _respelled(tokens, text, example, spelling)


def _recall(work: Work, name: str, reading: _Reading, folder: Path) -> None:
    """Caches what one of several, behind an address, has told of the answers that are its own, too; of all other rows
    it is not heard."""
    sure, spelling = Sureness(), Spelling(reading.own)

    def rows() -> Iterator[tuple[str, list[dict[int, float]] | None]]:
        for (record, text), example in zip(reading.rows, reading.learned, strict=True):
            own = next((one for one in record.answers if (one.by, one.text) == (name, text)), None)
            tokens = (own.token_logprobs if own else None) or ()
            for token in tokens:
                sure.note(record.id, math.exp(max((token.logprob, *token.top.values()))))
            yield record.id, _respelled(tokens, text, example, spelling) if tokens else None

    cache_spelled(rows(), reading.learned, reading.trusted, folder, reading.k, 1.0, sure)
    _, index = read_cache(folder)
    work.measure("heard", "rows", float(len(reading.rows) - len(index.unlike)), subject=name, of=len(reading.rows))


def _respelled(
    tokens: Sequence[TokenLogprobs], text: str, example: Example, spelling: Spelling
) -> list[dict[int, float]] | None:
    """What was told of an answer's tokens, in the student's; None where they do not spell it."""
    told = spell_out(tokens, text)
    if told is None:
        return None
    pieces, could, there = told
    said = [Said(likeliest, value) for likeliest, value in zip(could, there, strict=True)]
    return respell(example.answer, pieces, [*said, END][: len(pieces) + 1], spelling)


def _tell_unlike(work: Work, name: str, folder: Path, rows: Rows) -> None:
    """How many answers were spelled in the student's tokens, where a teacher has others."""
    _, index = read_cache(folder)
    if not index.spelled:
        return
    if index.unlike:
        told = f"warning: {name} writes {len(index.unlike)} answers in other bytes; they are learned as gold is"
        work.progress(1.0, told)
    work.measure("respelled", "rows", float(len(rows) - len(index.unlike)), subject=name, of=len(rows))
