"""Several teachers, one of another family, are heard together, to the shipped model."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.core.errors import ConfigError
from slmops.data.records import read_records
from slmops.stages.project import Project
from slmops.stages.report import summarize
from slmops.stages.run import open_store, run
from slmops.synthesis.together import hear_together
from slmops.tasks.types import Answer, Record, Source
from tests.models.architectures import ARCHITECTURES
from tests.stages.test_every_task import TRAIN, project_of
from tests.stages.tiny_project import write_project

OTHER = next(one for one in ARCHITECTURES if one.name == "llama-3")
TWO = f"[{{model: 'file:model', {TRAIN}}}, {{model: 'file:other', {TRAIN}}}]"


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
    assert set(made.parents) == {"dataset", "labels", "teacher", "teacher_2", "pruned"}
    assert [one.subject for one in made.measurements if one.name == "respelled"] == ["teacher_2"]


def answered(*given: Answer) -> list[list[Record]]:
    return [[Record("row", {"text": "t"}, None, Source("file"), answers=(one,))] for one in given]


def test_of_written_answers_the_surest_counts_and_what_is_none_comes_last() -> None:
    unfit = Answer("long", "teacher", "longer than 8 tokens", confidence=0.9)
    doubtful, sure = Answer("a", "teacher_2", confidence=0.4), Answer("b", "teacher_3", confidence=0.6)
    (found,) = hear_together(answered(unfit, doubtful, sure), "average", 0.5)
    assert (found.answers[-1].text, found.answers[-1].by, found.answers[-1].rejected) == ("b", "teachers", None)
    assert [answer.by for answer in found.answers] == ["teacher", "teacher_2", "teacher_3", "teachers"]


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
        ({"teacher": "[{model: a, endpoint: 'https://x/v1'}, b]"}, "heard together only here, not behind an endpoint"),
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
