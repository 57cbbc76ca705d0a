"""Says what is wrong with how a model learns: from its rows before it learns, from its curve while it does and when it
has. In come the task, its rows and a curve; out go warnings as they are found, and the artifact's diagnosis.json.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import mean

from slmops.core.errors import MissingExtraError
from slmops.core.files import write_whole
from slmops.core.pipeline import Progress
from slmops.data.label_errors import doubt_labels
from slmops.data.lengths import LengthTally
from slmops.models.packing import Example
from slmops.tasks.types import Labels, Record, Task
from slmops.training.config import TrainConfig
from slmops.training.curve import Point
from slmops.training.diagnosis import Course, Fault, diagnose, watch
from slmops.training.schedule import first_rounded_step, steps_of

DIAGNOSIS_FILE = "diagnosis.json"

_NOISE = 0.05  # of the labels look wrong
_SURE = 0.6  # of what the doubting model did not find: where it errs itself, it is seldom so sure
_CUT = 0.05  # of the answers
_MOST = 3000  # rows whose labels are looked at


class Diagnosis:
    """Tells the faults of one training while it runs, each once, by `report`."""

    def __init__(self, course: Course, report: Progress) -> None:
        self._course, self._report, self._told = course, report, set[str]()

    def look(self, curve: Sequence[Point]) -> bool:
        """At each look at the rows; never ends it."""
        for fault in watch(curve, self._course):
            if fault.name not in self._told:
                self._report(0.0, f"warning: {fault}")
                self._told.add(fault.name)
        return True

    def end(self, curve: Sequence[Point]) -> list[Fault]:
        """All of them, when it has ended."""
        return diagnose(curve, self._course)


def course_of(examples: Sequence[Example], config: TrainConfig, *, closed: bool, rounded: bool) -> Course:
    """How these examples are learned; `closed`: answers are of a closed set."""
    first = first_rounded_step(steps_of(len(examples), config), config, rounded)
    return Course(guessing_cost(examples) if closed else None, first, config.keeps_best)


def guessing_cost(examples: Sequence[Example]) -> float:
    """Nats a target token for whoever knows how often each answer is given, and nothing of the texts."""
    counts = Counter(example.answer for example in examples)
    shares = [count / len(examples) for count in counts.values()]
    return -sum(share * math.log(share) for share in shares) / mean(sum(example.learn) for example in examples)


def faults_of_rows(task: Task, rows: Sequence[tuple[Record, str]]) -> Iterator[Fault]:
    """What is wrong with rows that people gave: labels that look wrong, answers that were cut off."""
    if isinstance(task.grammar, Labels):
        some = rows[:: math.ceil(len(rows) / _MOST)]
        try:
            found, doubts = doubt_labels([record.text for record, _ in some], [answer for _, answer in some])
        except (MissingExtraError, ValueError):  # a courtesy: no scikit-learn, or texts without a word
            return
        if len(doubts) > len(some) * max(_NOISE, _SURE * (1 - found)):
            record, answer = some[doubts[0].row]
            shown = f"{len(doubts) / len(some):.0%} of the labels look wrong, as {answer!r} of {record.text[:60]!r}"
            yield Fault("label noise", shown, "look at them: slmops data check")
        return
    tally = LengthTally("characters", len)
    for record, answer in rows:
        if answer:
            tally.add(record.id, answer)
    cut = [finding for finding in tally.findings("answers") if finding.count > _CUT * len(rows)]
    if cut:
        yield Fault("truncated answers", f"{cut[0].count} {cut[0].what}", cut[0].remedy)


def cut_answers(task: Task, examples: Sequence[Example]) -> Iterator[Fault]:
    """Free answers that are learned whole, but written only in part: longer than the task lets any be."""
    if isinstance(task.grammar, Labels):
        return
    lengths = [max(_answer_lengths(example)) for example in examples if "#" not in example.row]  # no copies
    longer = sum(length > task.max_tokens for length in lengths)
    if longer:
        shown = (
            f"{longer} of {len(lengths)} are longer than task.max_tokens, {task.max_tokens}: what is written ends there"
        )
        yield Fault("truncated answers", shown, f"write task: {{max_tokens: {max(lengths)}}}, or shorter answers")


def _answer_lengths(example: Example) -> list[int]:
    """In tokens, of each turn that is learned, without its end."""
    return [len(list(turn)) - 1 for learned, turn in groupby(example.learn) if learned]


def write_diagnosis(folder: Path, faults: Sequence[Fault]) -> None:
    write_whole(folder / DIAGNOSIS_FILE, json.dumps([asdict(fault) for fault in faults], indent=1) + "\n")


def read_diagnosis(folder: Path) -> list[Fault]:
    """What `write_diagnosis` wrote; nothing where it did not."""
    path = folder / DIAGNOSIS_FILE
    return [Fault(**fault) for fault in json.loads(path.read_text("utf-8"))] if path.is_file() else []
