"""What is wrong with a training is told while it runs, kept in its artifact, and said by commands and report."""

from __future__ import annotations

import html
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from slmops.models.packing import Example
from slmops.stages.diagnosis import (
    Diagnosis,
    cut_answers,
    faults_of_rows,
    guessing_cost,
    read_diagnosis,
    write_diagnosis,
)
from slmops.tasks import load_task
from slmops.tasks.types import Record, Source
from slmops.training.curve import Point
from slmops.training.diagnosis import Course, Fault
from tests.stages.tiny_project import write_project

WORDS = ("order", "parcel", "refund", "invoice", "password", "login", "chair", "table", "lamp", "window", "garden")


def answered(count: int, wrong: float) -> list[tuple[Record, str]]:
    """Messages that name their label, some of them with another one's."""
    rows = []
    for number in range(count):
        own, other = WORDS[number % 6], WORDS[(number + 1) % 6]
        text = f"please help me with my {own} number {number} and the {WORDS[6 + number % 5]} I wrote about"
        label = other if number % 100 < 100 * wrong else own
        rows.append((Record(str(number), {"text": text}, label, Source("rows", number + 1)), label))
    return rows


def test_exchanged_labels_are_noise_and_labels_as_they_are_are_none() -> None:
    task = load_task("classification", labels=WORDS[:6])
    assert list(faults_of_rows(task, answered(600, 0.0))) == []
    (fault,) = faults_of_rows(task, answered(600, 0.2))
    assert fault.name == "label noise"
    assert fault.shown_by.startswith(("19%", "20%", "21%"))


def test_answers_that_all_end_at_one_length_were_cut() -> None:
    task = load_task("summarization")
    whole = [" ".join(WORDS[number % 7 :] * (1 + number % 4)) + "." for number in range(200)]
    trailing = [f"{whole[0]} and so on…", *whole[1:]]  # one that trails off is no limit
    for answers, told in ((whole, []), (trailing, []), ([one[:90] for one in whole], ["truncated answers"])):
        rows = [
            (Record(str(number), {"text": "a document"}, answer, Source("rows", number + 1)), answer)
            for number, answer in enumerate(answers)
        ]
        assert [fault.name for fault in faults_of_rows(task, rows)] == told


def test_guessing_costs_the_entropy_of_the_answers_a_token() -> None:
    learn = (False, True, True)
    rows = [Example(str(number), ((1, 2 + number % 4, 9),), learn) for number in range(40)]
    assert guessing_cost(rows) == pytest.approx(math.log(4) / 2)


def test_each_fault_is_told_once() -> None:
    told: list[str] = []
    diagnosis = Diagnosis(Course(), lambda share, text: told.append(text))
    fell = [Point(0, 2.0, 2.0, seen_loss=2.0), *(Point(step, 2.0, None) for step in range(1, 4))]
    rose = [*fell, *(Point(step, 9.0, None) for step in range(4, 8)), Point(8, 9.0, 8.0, seen_loss=8.0)]
    assert diagnosis.look(fell)
    assert told == []
    assert diagnosis.look(rose)
    assert diagnosis.look([*rose, Point(9, 9.0, 8.0, seen_loss=8.0)])
    assert [text.split(":")[1].strip() for text in told] == ["divergence", "learning rate too high"]


def test_it_is_kept_and_read(tmp_path: Path) -> None:
    faults = [Fault("over-fitting", "shown by this", "do that")]
    write_diagnosis(tmp_path, faults)
    assert read_diagnosis(tmp_path) == faults
    assert read_diagnosis(tmp_path / "elsewhere") == []


def test_run_and_report_say_it(tmp_path: Path) -> None:
    student = "{model: 'file:model', train: {learning_rate: 1.0e-6, quantization_aware: 0}}"
    alone = {"teacher": None, "synthesis": None, "optimization": "[]", "evaluation": "{compare: [student]}"}
    write_project(tmp_path, student=student, **alone)

    def slmops(*words: str) -> str:
        command = [Path(sys.executable).with_name("slmops"), *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "student: learning rate too low: rows that were learned cost" in slmops("run")
    again = json.loads(slmops("run", "--json"))["faults"]["student"]
    assert [fault["name"] for fault in again] == ["learning rate too low", "under-fitting"]
    faults = json.loads(slmops("report", "--json"))["faults"]["student"]
    assert [fault["name"] for fault in faults] == ["learning rate too low", "under-fitting"]
    assert html.escape(faults[0]["shown_by"]) in (tmp_path / ".slmops" / "report.html").read_text()


def test_answers_that_are_learned_whole_and_written_in_part_are_told() -> None:
    examples = [Example(str(n), ((1,) * (n + 9),), (False,) * 3 + (True,) * (n + 6)) for n in range(4)]
    (fault,) = cut_answers(load_task("generation", max_tokens=6), examples)
    assert fault.shown_by == "2 of 4 are longer than task.max_tokens, 6: what is written ends there"
    assert fault.remedy.startswith("write task: {max_tokens: 8}")
    assert list(cut_answers(load_task("generation", max_tokens=8), examples)) == []
