"""`pruned`: the student before it has learned: chosen layers of the teacher, or a ready small model; with the tokens
that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from slmops.core.pipeline import Estimate, Stage, Work
from slmops.data.records import read_records
from slmops.models.families import encode_lesson, family_of
from slmops.models.forward import load_causal_lm
from slmops.models.tokenizer import Ids, Tokenizer
from slmops.optimization.prune import keep_layers, lower_layers, spread_layers
from slmops.optimization.vocabulary import trim_model, trim_tokenizer, write_kept, write_tokenizer
from slmops.stages.parts import read_answered, read_task
from slmops.stages.project import Project
from slmops.stages.saved import save_model
from slmops.stages.teacher import base_model
from slmops.tasks.types import Labels, Record, Task

if TYPE_CHECKING:
    from torch import nn


def pruned_stage(project: Project, identity: str | None) -> Stage:
    """`identity` is that of student.model, None where the student is cut from the teacher."""
    from_teacher = project.student.model is None
    student = project.student
    section = {"model": identity, "layers": student.layers, "keep": student.keep, "prompt": student.prompt}
    inputs = {"dataset": "dataset"} | ({"teacher": "teacher"} if from_teacher else {})
    if student.vocabulary != "all":
        section["vocabulary"] = student.vocabulary
        inputs |= {"labels": "labels"} if project.teacher else {}  # whose answers are learned, too
    return Stage("pruned", 3, inputs, section, lambda work: _make(project, work), Estimate(0.1, 210), ("threads",))


def _make(project: Project, work: Work) -> None:
    student = project.student
    if student.model is None:
        source, licence = work.inputs["teacher"], work.parent_licences["teacher"]
    else:
        base = base_model(project, student.model, work)
        source, licence = base.folder, base.licence
    work.licence = licence
    model = load_causal_lm(source)
    if student.layers is not None:
        count = model.config.num_hidden_layers
        if student.layers > count:
            raise project.error(
                "student.layers", f"{student.layers} is more than the teacher's {count}", f"choose 1…{count}"
            )
        choose = lower_layers if student.keep == "lower" else spread_layers
        model = keep_layers(model, choose(count, student.layers))
    if student.vocabulary != "all":
        source = _trim(model, source, student.vocabulary, work)
    save_model("pruned", model, source, work.out, work.inputs["dataset"], student.prompt, licence)


def _trim(model: nn.Module, source: Path, at_least: int, work: Work) -> Path:
    """Trims the model in place; returns the folder of the tokenizer that goes with it."""
    tokenizer, before = Tokenizer(source), model.get_input_embeddings().weight.shape[0]
    used = {id for ids in _encoded(tokenizer, work) for id in ids}
    vocabulary = trim_tokenizer(tokenizer.description(), used, at_least)
    trim_model(model, vocabulary)
    work.measure("vocabulary", "tokens", float(len(vocabulary.kept)), of=before, used=len(used))
    write_kept(vocabulary, work.out)
    folder = work.scratch / "trimmed"
    folder.mkdir(exist_ok=True)
    write_tokenizer(vocabulary, source, folder)
    return folder


def _encoded(tokenizer: Tokenizer, work: Work) -> Iterator[Ids]:
    """All that the student will read and write, but for the test: with the instruction and without it."""
    task, family = read_task(work.inputs["dataset"]), family_of(tokenizer)
    for record, answer in _answered(task, work):
        for ask in (task.messages, task.short_messages):
            yield encode_lesson(tokenizer, family, ask(record, answer))[0]


def _answered(task: Task, work: Work) -> Iterator[tuple[Record, str]]:
    rows = [row for part in ("train", "validation") for row in read_answered(work.inputs["dataset"], part, task)]
    yield from rows
    if isinstance(task.grammar, Labels):
        yield from ((rows[0][0], label) for label in task.grammar.values)
    if "labels" in work.inputs:
        yield from (
            (record, record.answers[-1].text) for record in read_records(work.inputs["labels"] / "labels.jsonl")
        )
