"""Whether the teacher helped is found out on the same budget, and said in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slmops.core.errors import BusyError, SlmopsError
from slmops.core.files import lock
from slmops.core.measurement import Interval
from slmops.core.statistics import difference_over_runs
from slmops.core.store import Store
from slmops.evaluation.config import VerdictConfig
from slmops.evaluation.summary import Against, Verdict
from slmops.stages.project import Project
from slmops.stages.report import write_report
from slmops.stages.run import open_store, run
from slmops.stages.verdict import ALONE, ANSWERS, DISTILLED, judge, read_verdict
from tests.stages.tiny_project import write_project

TRAIN = "train: {epochs: 3, learning_rate: 0.01}"
CHANGES = {
    "student": f"{{from: teacher, layers: 1, {TRAIN}}}",
    "evaluation": "{compare: [teacher, untrained, student, int4], bench: {messages: 2}, verdict: 2}",
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.load(write_project(tmp_path_factory.mktemp("judged"), **CHANGES))
    run(project)
    judge(project)
    return project


def test_each_way_is_trained_as_long_and_the_projects_own_student_is_one_of_them(judged: Project) -> None:
    store = open_store(judged)
    own = store.manifest("tiny/int4@latest")
    verdict = read_verdict(judged, own.id, store.manifest("tiny/dataset@latest").id)
    assert verdict and verdict.artifact == own.id
    assert set(verdict.figures) == {DISTILLED, ANSWERS, ALONE}
    assert all(len(values) == 2 for values in verdict.figures.values())
    assert [one.arm for one in verdict.against] == [ANSWERS, ALONE]
    students = [store.manifest(entry.id) for entry in store.entries() if entry.kind == "student"]
    ends = [
        json.loads((store.open(student.id) / "curve.jsonl").read_text().splitlines()[-1])["step"]
        for student in students
    ]
    assert len(students) == 6
    assert {abs(end - verdict.steps) <= 1 for end in ends} == {True}
    assert {frozenset(student.parents) for student in students} == {
        frozenset({"dataset", "pruned", "targets"}),
        frozenset({"dataset", "pruned", "labels"}),
        frozenset({"dataset", "pruned"}),
    }


def test_it_goes_on_where_it_was_and_stays_what_it_is(judged: Project) -> None:
    before, notes = open_store(judged).entries(), list[str]()
    verdict = judge(judged, lambda stage, share, note: notes.append(stage))
    assert open_store(judged).entries() == before
    assert verdict == read_verdict(judged, verdict.artifact, verdict.dataset)
    store = open_store(judged)
    store.gc()
    for manifest in before:
        assert store.open(manifest.id).is_dir()


def test_the_report_tells_it_with_where_points_were_lost(judged: Project) -> None:
    summary, page = write_report(judged)
    assert summary.verdict and summary.verdict.asked == 2
    assert {("student", "teacher"), ("int4", "student")} <= {(one.a, one.b) for one in summary.comparisons}
    written = page.read_text()
    assert "Did the teacher help?" in written and "a seed each" in written
    assert "Where points were lost" in written and "made smaller, and taught" in written
    assert "quantized: int4" in written and "taught as long with no teacher, a student comes to" in written


def test_a_way_is_trained_until_its_own_difference_is_certain(judged: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a teacher at once; on its answers never, which is undecided until the last round."""
    chance, written = np.random.default_rng(1), list[Verdict]()
    accuracy = {DISTILLED: 0.9, ANSWERS: 0.9, ALONE: 0.5}

    def ask(project: Project, store: Store, made: dict[str, str]) -> dict[str, np.ndarray]:
        found = read_verdict(project, store.manifest("tiny/int4@latest").id, verdict_before.dataset)
        written.extend([found] if found else [])
        return {name: np.c_[chance.random(400) < accuracy[name], np.ones(400)] for name in made}

    verdict_before = judge(judged)
    evaluation = judged.evaluation.model_copy(update={"verdict": VerdictConfig(seeds=4)})
    monkeypatch.setattr("slmops.stages.verdict._ask", ask)
    monkeypatch.setattr("slmops.stages.verdict._student", lambda *asked: verdict_before.artifact)
    found = judge(judged.model_copy(update={"evaluation": evaluation}))
    assert {name: len(values) for name, values in found.figures.items()} == {DISTILLED: 4, ANSWERS: 4, ALONE: 2}
    assert {one.arm: one.word for one in found.against} == {ANSWERS: "no gain", ALONE: "helped"}
    assert {one.arm: one.word for one in written[-1].against} == {ANSWERS: "undecided", ALONE: "helped"}
    (judged.state / "verdict.json").write_text(verdict_before.model_dump_json())


def test_another_student_has_no_verdict_yet(judged: Project) -> None:
    verdict = judge(judged)
    assert read_verdict(judged, "another", verdict.dataset) is None
    assert read_verdict(judged, verdict.artifact, "other messages") is None


def test_while_a_run_works_here_it_waits_for_nobody(judged: Project) -> None:
    with lock(judged.state / "lock"), pytest.raises(BusyError):
        judge(judged)


def test_without_a_teacher_there_is_nothing_to_judge(tmp_path: Path) -> None:
    alone = {"teacher": None, "synthesis": None, "student": f"{{model: 'file:model', {TRAIN}}}"}
    with pytest.raises(SlmopsError, match=r"no teacher to judge.*add teacher"):
        judge(Project.load(write_project(tmp_path, **alone)))


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        ((0.031, 0.022, 0.040), "helped by 3.1 ± 0.9 points over no teacher"),
        ((-0.031, -0.040, -0.022), "hurt by 3.1 ± 0.9 points over no teacher"),
        ((0.004, -0.005, 0.013), "no gain (+0.4 ± 0.9 points) over no teacher"),
        ((0.024, -0.026, 0.074), "undecided (+2.4 ± 5.0 points) over no teacher"),
    ],
)
def test_it_is_said_in_words(difference: tuple[float, float, float], said: str) -> None:
    word = said.split(" by ")[0].split(" (")[0]
    assert str(Against(arm=ALONE, word=word, difference=Interval(*difference))) == said  # type: ignore[arg-type]


def test_the_spread_of_seeds_is_counted_as_chance() -> None:
    """Though all runs of one lie above all runs of the other: of two seeds each, that is chance one time in three."""
    chance = np.random.default_rng(0)

    def runs(accuracies: list[float], count: int = 4000) -> np.ndarray:
        return np.stack([(chance.random(count) < accuracy)[:, None] for accuracy in accuracies]).astype(float)

    def accuracy(sums: np.ndarray) -> np.ndarray:
        return sums[..., 0] / 4000

    steady = difference_over_runs(runs([0.80, 0.80]), runs([0.70, 0.70]), accuracy, seed=1)
    shaky = difference_over_runs(runs([0.90, 0.81]), runs([0.79, 0.70]), accuracy, seed=1)
    more = difference_over_runs(runs([0.85] * 5), runs([0.75] * 5), accuracy, seed=1)
    assert all(found.value == pytest.approx(0.1, abs=0.03) for found in (steady, shaky, more))
    assert steady.low > 0 > shaky.low
    assert shaky.high - shaky.low > 4 * (more.high - more.low)


def test_what_would_not_be_the_same_student_is_refused(tmp_path: Path) -> None:
    search = "search: {num_trials: 2, search_space: {learning_rate: {type: float, low: 0.001, high: 0.01}}}"
    searched = write_project(tmp_path, student=f"{{from: teacher, layers: 1, train: {{{search}}}}}")
    with pytest.raises(SlmopsError, match=r"student.train.search: a search would train another student"):
        judge(Project.load(searched))
