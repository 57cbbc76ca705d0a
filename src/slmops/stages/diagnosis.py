"""Says what is wrong with how a model learns: while it learns and when it has, from its curve and from its rows.

In come the task, its rows and a curve; out go warnings as they are found, and the artifact's diagnosis.json.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean

from slmops.core.errors import MissingExtraError
from slmops.core.files import write_whole
from slmops.core.pipeline import Progress
from slmops.data.label_errors import doubt_labels
from slmops.data.lengths import LengthTally
from slmops.models.packing import Example
from slmops.tasks.types import Labels, Record, Task
from slmops.training.curve import Point
from slmops.training.diagnosis import Fault, diagnose, over_fitting, unstable

DIAGNOSIS_FILE = "diagnosis.json"

_NOISE = 0.05  # of the labels look wrong; of labels as people gave them it is about 0.01
_MOST = 3000  # rows whose labels are looked at


class Diagnosis:
    """The faults of one training; each is told once, by `report`. `guessing` is `guessing_cost`, where answers are of a
    closed set."""

    def __init__(self, guessing: float | None, report: Progress) -> None:
        self._guessing, self._report, self._told = guessing, report, set[str]()

    def look(self, curve: Sequence[Point]) -> bool:
        """While it learns, at each look at the rows; never ends it."""
        self._tell(unstable(curve, self._guessing) or over_fitting(curve))
        return True

    def end(self, curve: Sequence[Point], of_rows: Sequence[Fault]) -> list[Fault]:
        """When it has learned: all faults, what its rows are to blame for last."""
        faults = [*diagnose(curve, self._guessing), *of_rows]
        self._tell(faults)
        return faults

    def _tell(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            if fault.name not in self._told:
                self._report(0.0, f"warning: {fault}")
                self._told.add(fault.name)


def guessing_cost(examples: Sequence[Example]) -> float:
    """Nats a target token for whoever knows how often each answer is given, and nothing of the texts."""
    counts = Counter(example.answer for example in examples)
    shares = [count / len(examples) for count in counts.values()]
    return -sum(share * math.log(share) for share in shares) / mean(sum(example.learn) for example in examples)


def faults_of_rows(task: Task, rows: Sequence[tuple[Record, str]]) -> Iterator[Fault]:
    """What is wrong with rows that people gave: labels that look wrong, answers that were cut off."""
    if isinstance(task.grammar, Labels):
        some = rows[:: max(1, len(rows) // _MOST)]
        try:
            _, doubts = doubt_labels([record.text for record, _ in some], [answer for _, answer in some])
        except MissingExtraError:  # the look is a courtesy; training needs no scikit-learn
            return
        if len(doubts) > _NOISE * len(some):
            record, answer = some[doubts[0].row]
            shown = f"{len(doubts) / len(some):.0%} of the labels look wrong, as {answer!r} of {record.text[:60]!r}"
            yield Fault("label noise", shown, "look at them: slmops data check")
        return
    tally = LengthTally("characters", len)
    for record, answer in rows:
        if answer:
            tally.add(record.id, answer)
    for finding in tally.findings("answers"):
        yield Fault("truncated answers", f"{finding.count} {finding.what}", finding.remedy)


def write_diagnosis(folder: Path, faults: Sequence[Fault]) -> None:
    write_whole(folder / DIAGNOSIS_FILE, json.dumps([asdict(fault) for fault in faults], indent=1) + "\n")


def read_diagnosis(folder: Path) -> list[Fault]:
    """What `write_diagnosis` wrote; nothing where it did not."""
    path = folder / DIAGNOSIS_FILE
    return [Fault(**fault) for fault in json.loads(path.read_text())] if path.is_file() else []
