"""Several teachers, one of another family, are heard together, to the shipped model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from slmops.core.errors import ConfigError
from slmops.data.records import read_records
from slmops.models.tokenizer import Tokenizer
from slmops.stages.making import making_of
from slmops.stages.project import Project
from slmops.stages.report import summarize
from slmops.stages.run import open_store, run
from slmops.synthesis.together import hear_together
from slmops.tasks.types import Answer, Record, Source
from slmops.training.target_codes import decode
from tests.endpoint import completion, served
from tests.models.architectures import ARCHITECTURES
from tests.stages.test_every_task import TRAIN, project_of
from tests.stages.test_told_tokens import LOGIN, told
from tests.stages.tiny_project import write_project

OTHER = next(one for one in ARCHITECTURES if one.name == "llama-3")
TWO = f"[{{model: 'file:model', {TRAIN}}}, {{model: 'file:other', {TRAIN}}}]"
SILENT = "[a, {model: b, endpoint: 'https://x/v1'}]"


def test_labels_are_their_mean_and_the_report_tells_each(tmp_path: Path) -> None:
    OTHER.write(tmp_path / "other")
    project = Project.load(write_project(tmp_path, teacher=TWO, synthesis="{accept: {confidence: 0}}"))
    run(project)
    store = open_store(project)
    assert set(store.manifest("tiny/labels@latest").parents) == {"dataset", "teacher", "teacher_2"}
    for record in read_records(store.open(store.manifest("tiny/labels@latest").id) / "labels.jsonl"):
        one, other, both = (answer.label_probs or {} for answer in record.answers)
        assert both == pytest.approx({label: (one[label] + other[label]) / 2 for label in one}, abs=1e-4)
        assert record.answers[-1].text == max(both, key=lambda label: both[label])
    told = summarize(project)
    assert set(told.data.opinions) >= {"teacher", "teacher_2", "teachers"}
    assert set(told.curves) == {"teacher", "teacher_2", "student"}


@pytest.mark.parametrize("vocabulary", ["all", "1"])
def test_written_answers_are_read_by_each_in_its_own_tokens(tmp_path: Path, vocabulary: str) -> None:
    path = project_of(tmp_path, "summarization")
    OTHER.write(tmp_path / "other")
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("teacher:", "student:"))]
    student = f"{{from: teacher, layers: 1, vocabulary: {vocabulary}, {TRAIN}}}"
    lines += [f"teacher: {TWO}", f"student: {student}", "distillation: {teachers: surest, cache: 16}"]
    path.write_text("\n".join(lines) + "\n")
    project = Project.load(path)
    run(project, until="int4")
    store = open_store(project)
    made = store.manifest("tiny/targets@latest")
    own = "pruned" if vocabulary == "all" else "vocabulary"
    assert set(made.parents) == {"dataset", "labels", "teacher", "teacher_2", own}
    assert [one.subject for one in made.measurements if one.name == "respelled"] == ["teacher_2"]


def with_endpoint(url: str, more: str = "") -> str:
    return f"[{{model: 'file:model', {TRAIN}}}, {{model: big, endpoint: '{url}'{more}}}]"


def test_an_endpoint_that_answers_alone_has_one_vote_where_it_was_asked(tmp_path: Path) -> None:
    price = ", usd_per_million_tokens: {input: 200, output: 1000}"
    with served(lambda asked: completion("login")) as server:
        write_project(tmp_path, teacher=with_endpoint(server.url, price), synthesis="{accept: {confidence: 0}}")
        run(project := Project.load(tmp_path / "slmops.yaml"), until="labels")
    assert len(server.asked) == 20
    store = open_store(project)
    made = store.manifest("tiny/labels@latest")
    assert set(made.parents) == {"dataset", "teacher"}
    labels = store.open(made.id)
    heard = read_records(labels / "labels.jsonl")
    both = [record for record in heard if len(record.answers) == 3]
    assert len(both) == 20 and not any(record.source.made_from for record in both)
    for record in both:
        one, vote, together = record.answers
        assert [answer.by for answer in record.answers] == ["teacher", "teacher_2", "teachers"]
        assert (vote.text, vote.label_probs, vote.confidence) == ("login", None, None)
        votes = {label: (value + (label == "login")) / 2 for label, value in (one.label_probs or {}).items()}
        assert together.label_probs == pytest.approx(votes, abs=1e-4)
    alone = [record for record in [*heard, *read_records(labels / "validation.jsonl")] if record not in both]
    assert alone and {tuple(answer.by for answer in record.answers) for record in alone} == {("teacher",)}
    making = making_of(project, {"labels": made}, {})
    assert making.teacher_usd_per_million is None
    assert making.endpoint_usd == pytest.approx(20 * (50 * 200 + 3 * 1000) / 1e6)


def test_what_an_endpoint_tells_of_its_tokens_is_averaged_where_its_answer_is_learned(tmp_path: Path) -> None:
    with served(lambda asked: told(LOGIN)) as server:
        write_project(
            tmp_path,
            teacher=with_endpoint(server.url, ", top_logprobs: 5"),
            synthesis="{accept: {confidence: 0}, augment: 0}",
            distillation="{match: tokens, cache: 8}",
        )
        run(project := Project.load(tmp_path / "slmops.yaml"), until="targets")
        asked, path = len(server.asked), tmp_path / "slmops.yaml"
        path.write_text(path.read_text().replace("match: tokens", "match: answers").replace(", cache: 8", ""))
        run(Project.load(path), until="labels")
        assert len(server.asked) == asked == 20  # nothing is paid for twice
    store = open_store(project)
    labels = read_records(store.open(store.manifest("tiny/labels@latest").id) / "labels.jsonl")
    own = [record for record in labels if record.answers[-1].text == "login"]
    made = store.manifest("tiny/targets@latest")
    (heard,) = [one for one in made.measurements if one.name == "heard"]
    assert (heard.subject, heard.value.value) == ("teacher_2", len(own)) and len(own) > 0
    folder, tokenizer = store.open(made.id), Tokenizer(store.open(made.parents["pruned"]))
    begin = json.loads((folder / "targets.json").read_text())["rows"][own[0].id][0]
    ids, logprobs = decode(np.load(folder / "targets.npy")[begin])
    said = {tokenizer.show(id): math.exp(value) for id, value in zip(ids.tolist(), logprobs.tolist(), strict=True)}
    for label, told_of in (("login", 0.7), ("track", 0.2), ("refund", 0.1)):
        assert sum(value for text, value in said.items() if label.startswith(text)) >= told_of / 2 - 0.01


def answered(*given: Answer) -> list[list[Record]]:
    return [[Record("row", {"text": "t"}, None, Source("file"), answers=(one,))] for one in given]


def test_of_written_answers_the_surest_counts_and_what_is_none_comes_last() -> None:
    unfit = Answer("long", "teacher", "longer than 8 tokens", confidence=0.9)
    doubtful, sure = Answer("a", "teacher_2", confidence=0.4), Answer("b", "teacher_3", confidence=0.6)
    (found,) = hear_together(answered(unfit, doubtful, sure), "average", 0.5)
    assert (found.answers[-1].text, found.answers[-1].by, found.answers[-1].rejected) == ("b", "teachers", None)
    assert [answer.by for answer in found.answers] == ["teacher", "teacher_2", "teacher_3", "teachers"]


def test_who_tells_no_probabilities_has_a_vote_and_who_answers_nothing_has_none() -> None:
    doubtful = Answer("a", "teacher", label_probs={"a": 0.6, "b": 0.4}, confidence=0.6)
    (found,) = hear_together(answered(doubtful, Answer("b", "teacher_2")), "average", 0.5)
    assert (found.answers[-1].text, found.answers[-1].label_probs) == ("b", pytest.approx({"a": 0.3, "b": 0.7}))
    (found,) = hear_together(answered(doubtful, Answer("c", "teacher_2", "no such label")), "average", 0.5)
    assert found.answers[-1].label_probs == {"a": 0.6, "b": 0.4}
    (found,) = hear_together(answered(Answer("", "teacher", "too long"), Answer("b", "teacher_2")), "average", 0.5)
    assert (found.answers[-1].text, found.answers[-1].rejected) == ("b", None)
    unsure = Answer("b", "teacher_2", label_probs={"a": 0.3, "b": 0.7}, confidence=0.7)
    (found,) = hear_together(answered(doubtful, unsure), "surest", 0.8)
    assert found.answers[-1].rejected == "confidence 0.70 is below 0.8"


def test_together_they_may_be_too_doubtful_to_be_heard() -> None:
    one = Answer("a", "teacher", label_probs={"a": 0.9, "b": 0.1}, confidence=0.9)
    other = Answer("b", "teacher_2", label_probs={"a": 0.2, "b": 0.8}, confidence=0.8)
    (mean,) = hear_together(answered(one, other), "average", 0.6)
    assert mean.answers[-1].rejected == "confidence 0.55 is below 0.6"
    (surest,) = hear_together(answered(one, other), "surest", 0.6)
    assert (surest.answers[-1].text, surest.answers[-1].rejected) == ("a", None)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"teacher": "[{model: a, endpoint: 'https://x/v1'}, b]"}, "the first of several teachers is cut and measured"),
        ({"teacher": SILENT, "distillation": "{teachers: surest}"}, "how sure teacher_2 is of an answer is not asked"),
        ({"teacher": SILENT, "distillation": "{match: tokens}"}, "teacher: how sure teacher_2 is .* top_logprobs: 20"),
        (
            {"teacher": SILENT, "data": "{train: data/labelled.jsonl, test: data/test.jsonl}"},
            "teacher: there is nothing for an endpoint to answer",
        ),
        ({"teacher": "[{model: a, others: [b]}, c]"}, "found others in a list of teachers"),
        ({"teacher": "{model: a, others: [{model: b, others: [c]}]}"}, "another teacher has others of its own"),
        ({"distillation": "{teachers: surest}"}, "there is one teacher, or none"),
        ({"teacher": "[a, {model: b, trian: false}]"}, r"teacher\.1\.trian: there is no such field"),
        ({"teacher": "[a, {model: b, train: {quantization_aware: 0.5}}]"}, "teacher: the teacher does not ship"),
        (
            {"teacher": "[a, b]", "optimization": "{precision: int4, name: teacher_2}"},
            "teacher_2 is the name of something",
        ),
    ],
)
def test_what_cannot_be_is_told_where_it_stands(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Project.load(write_project(tmp_path, **changes))
