"""A student with fewer tokens than its teacher, made, taught, quantized and asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slmops.core.config import ConfigError
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.vocabulary import read_kept
from slmops.stages.certificate import read_certificates
from slmops.stages.project import Project
from slmops.stages.report import summarize
from slmops.stages.run import figures_of, open_store, plan, run
from slmops.stages.verbs import ask
from tests.stages.tiny_project import LABELS, read_rows, write_config, write_project

LOSS = "loss: {skewed_forward_kl: 0.9, cross_entropy: 0.1, skew: 0.2}, cache: {megabytes: 0.02}"


@pytest.mark.parametrize(
    "distillation",
    ["{match: labels}", f"{{match: tokens, {LOSS}}}", "{match: tokens, cache: {top_k: 16, kind: sampled}}"],
)
def test_a_student_of_fewer_tokens_goes_the_whole_way(tmp_path: Path, distillation: str) -> None:
    student = "{from: teacher, layers: 1, vocabulary: 1, train: {epochs: 12, learning_rate: 0.01}}"
    compare = "{compare: [teacher, student, int4], bench: {messages: 2}}"
    project = Project.load(write_project(tmp_path, student=student, distillation=distillation, evaluation=compare))
    run(project)

    store = open_store(project)
    small, whole = store.open("tiny/int4@latest"), Tokenizer(store.open("tiny/teacher@latest"))
    kept = read_kept(store.open("tiny/pruned@latest")) or []
    assert Tokenizer(small).vocabulary_size == len(kept) < whole.vocabulary_size
    assert json.loads((store.open("tiny/student@latest") / "config.json").read_text())["vocab_size"] == len(kept)
    learned = read_rows(tmp_path / "data" / "labelled.jsonl") + read_rows(tmp_path / "data" / "unlabelled.jsonl")
    for row in learned:
        assert Tokenizer(small).encode(row["text"]) == tuple(map(kept.index, whole.encode(row["text"])))
    figures = figures_of(store.manifest("tiny/evidence@latest"))
    assert figures["int4", "accuracy", ""].value > 0.5
    summary = summarize(project)
    told = {subject.name: subject.what for subject in summary.subjects}
    assert told["student"] == f"1 layer, {len(kept)} tokens of the teacher, fp32 torch"
    worth = summary.trainings.get("targets", "")
    assert worth.startswith("keep ") == ("tokens" in distillation)
    assert ask("tiny/int4@latest", "Wo ist mein Paket? 包裹", store=store).text in LABELS


def test_students_of_many_shapes_learn_from_one_cache(tmp_path: Path) -> None:
    student = "{{from: teacher, layers: {}, vocabulary: 1, train: {{epochs: 1, learning_rate: 0.01}}}}"
    path = write_project(tmp_path, student=student.format(1), distillation="{match: tokens}")
    run(Project.load(path), until="targets")
    write_config(tmp_path, student=student.format(2), distillation="{match: tokens}")
    planned = {item.stage.name: item.runs for item in plan(Project.load(path), until="student")}
    assert planned["pruned"] and planned["student"] and not planned["vocabulary"] and not planned["targets"]


def test_a_cache_of_tokens_says_what_it_is_worth(tmp_path: Path) -> None:
    distillation = "{match: tokens, cache: 16}"
    project = Project.load(write_project(tmp_path, distillation=distillation, data=_WITH_VALIDATION))
    run(project, until="certificate")
    store = open_store(project)
    told = read_certificates(store.open("tiny/certificate@latest"))
    figures = {one.name: one.value.value for one in store.manifest("tiny/certificate@latest").measurements}
    used, others = told[0], told[1:]

    assert (used.kind, used.k, used.bytes_per_target) == ("top", 16, 64)
    assert {(other.kind, other.k) for other in others} == {
        *(("top", 4), ("top", 64)),
        *(("sampled", 4), ("sampled", 16), ("sampled", 64)),
    }
    assert figures["cache_error"] == used.error
    assert figures["cache_bytes_per_target"] == 64
    by_k = {other.k: other.error for other in told if other.kind == "top"}
    assert by_k[4] > by_k[16] > by_k[64]

    distillation = "{match: tokens, cache: {top_k: 1, kind: sampled}}"
    poor = Project.load(write_config(tmp_path, distillation=distillation, data=_WITH_VALIDATION))
    notes: list[str] = []
    run(poor, until="certificate", progress=lambda stage, share, note: notes.append(note))
    (warning,) = [note for note in notes if note.startswith("warning: targets keep 1 token at each place (sampled)")]
    assert "distillation.cache: {kind: top, top_k: 4} would be" in warning


_WITH_VALIDATION = (
    "{train: data/labelled.jsonl, unlabelled: data/unlabelled.jsonl, test: data/test.jsonl, validation: 0.2}"
)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"student": "{from: teacher, vocabulary: 0}"}, "student.vocabulary"),
        ({"distillation": "{loss: {forward_kl: 1, skew: 0.2}}"}, "skew is for skewed_forward_kl and skewed_reverse_kl"),
        ({"distillation": "{loss: {reverse_kl: 0}}"}, "all weights are 0"),
        ({"distillation": "{match: answers, temperature: 2}"}, "answers are learned as gold is"),
        ({"distillation": "{temperature: 0}"}, "distillation.temperature"),
        ({"distillation": "{cache: {top_k: 16, megabytes: 1}}"}, "both top_k and megabytes"),
        ({"distillation": "{loss: {reverse_kl: 1}, cache: {kind: sampled}}"}, "unbiased with forward_kl"),
    ],
)
def test_what_cannot_be_is_told_where_it_stands(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Project.load(write_project(tmp_path, **changes))
