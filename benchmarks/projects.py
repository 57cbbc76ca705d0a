"""A project as its user runs it, by the command, and what it says of itself, for benchmarks of whole projects.

In come a project's folder and words of the command line; out come what it printed, its artifacts, and figures as the
report's JSON has them. Rows are written and read as they are.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import SLMOPS
from slmops.core.measurement import Interval
from slmops.core.store import Store
from slmops.stages.evidence import read_answers


def slmops(*arguments: str, cwd: Path) -> str:
    """What the command prints; it must end well."""
    return subprocess.run([SLMOPS, *arguments], cwd=cwd, stdout=subprocess.PIPE, text=True, check=True).stdout


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def artifacts(place: Path, *variant: str) -> tuple[Store, Mapping[str, str]]:
    """The project's store, and what was made last for each stage."""
    made = {step["stage"]: step["artifact"] for step in json.loads(slmops("status", "--json", *variant, cwd=place))}
    return Store(place / ".slmops" / "store"), made


def right_answers(store: Store, made: Mapping[str, str], subject: str) -> np.ndarray:
    """(message, [right, 1]) of a subject of the evidence, in the order of the test."""
    answers = read_answers(store.open(made["evidence"]), subject)
    return np.array([[float(row["answer"] == row["gold"]), 1.0] for row in answers])


def share_right(sums: np.ndarray) -> np.ndarray:
    """Of such rows' sums."""
    share: np.ndarray = sums[..., 0] / sums[..., 1]
    return share


def in_points(difference: Interval) -> str:
    """A difference of shares as +1.0 points (-0.3 … 2.4)."""
    value, low, high = (100 * end for end in (difference.value, difference.low, difference.high))
    return f"{value:+.1f} points ({low:+.1f} … {high:+.1f})"


def read_report(place: Path) -> dict[str, Any]:
    """What the project's report says."""
    told: dict[str, Any] = json.loads(slmops("report", "--json", cwd=place))
    return told


def above_classical(report: Mapping[str, Any]) -> Interval:
    """The paired difference of accuracy of what ships and the classical baseline."""
    pairs = (pair for pair in report["comparisons"] if (pair["b"], pair["metric"]) == ("classical", "accuracy"))
    return Interval.from_json(next(pairs)["difference"])


def figures_of(report: Mapping[str, Any]) -> dict[str, dict[str, Interval]]:
    """The figures of each subject of a report, by their names."""
    return {
        subject["name"]: {name: Interval.from_json(figure) for name, figure in subject["figures"].items()}
        for subject in report["subjects"]
    }
