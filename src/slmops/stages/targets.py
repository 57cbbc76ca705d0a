"""`targets`: what the teacher says at every answer token of labelled, accepted and augmented texts, cached on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from slmops.core.errors import need
from slmops.core.files import write_whole
from slmops.core.pipeline import Estimate, Stage, Work
from slmops.data.augment import augment_texts
from slmops.data.records import read_records, write_records
from slmops.models.forward import load_causal_lm
from slmops.models.tokenizer import Tokenizer
from slmops.stages.estimates import forward_minutes
from slmops.stages.parts import answered_examples, read_part, read_task
from slmops.stages.project import Project
from slmops.tasks.types import Record
from slmops.training.targets import cache_targets


def targets_stage(project: Project) -> Stage:
    distillation, augment = project.distillation, project.synthesis.augment
    inputs = {"dataset": "dataset", "teacher": "teacher"}
    if project.data.unlabelled:
        inputs["labels"] = "labels"
    section = {
        "temperature": distillation.temperature,
        "top_k": distillation.cache.top_k,
        "augment": augment,
        "seed": project.seed,
    }
    return Stage(
        "targets",
        1,
        inputs,
        section,
        lambda work: _make(project, work),
        Estimate(forward_minutes(project, "targets"), 5),
        ("number_format", "threads"),
    )


def read_answers(folder: Path) -> list[tuple[Record, str]]:
    """The records of the cache with the answer each was scored along."""
    answers = json.loads((folder / "answers.json").read_text())
    return [(record, answers[record.id]) for record in read_records(folder / "records.jsonl")]


def _make(project: Project, work: Work) -> None:
    need("torch", "train").set_num_threads(work.choices["threads"])
    rows = [(record, str(record.gold)) for record in read_part(work.inputs["dataset"], "train")]
    if "labels" in work.inputs:
        answered = read_records(work.inputs["labels"] / "labels.jsonl")
        rows += [(record, record.answers[-1].text) for record in answered if record.answers[-1].rejected is None]
    rows = list({record.id: (record, answer) for record, answer in rows}.values())
    trusted = {record.id for record, _ in rows}
    by_id = {record.id: answer for record, answer in rows}
    # An augmented text is scored along the answer of the text it was made from: the teacher's distribution at the
    # first token says what it really thinks, and only that is learned, since the row is not trusted.
    for record in augment_texts([record for record, _ in rows], project.synthesis.augment, project.seed):
        name = f"{record.source.made_from}-{record.id}"
        rows.append((replace(record, id=name), by_id[record.source.made_from]))
    teacher = work.inputs["teacher"]
    examples = answered_examples(Tokenizer(teacher), read_task(work.inputs["dataset"]), rows, "full")
    cache_targets(
        load_causal_lm(teacher),
        examples,
        trusted,
        work.out,
        top_k=project.distillation.cache.top_k,
        temperature=project.distillation.temperature,
        max_tokens=1024,
        number_format=work.choices["number_format"],
        report=lambda done, total: work.progress(done / total, f"{done}/{total} texts"),
    )
    work.measure("rows", "rows", float(len(trusted)), subject="trusted")
    work.measure("rows", "rows", float(len(rows) - len(trusted)), subject="augmented")
    write_records(work.out / "records.jsonl", [record for record, _ in rows])
    answers = {record.id: answer for record, answer in rows}
    write_whole(work.out / "answers.json", json.dumps(answers, ensure_ascii=False, sort_keys=True))
