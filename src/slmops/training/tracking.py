"""Follows a training: every moment, with what the machine did meanwhile, goes into a journal and to the trackers.

In come moments of a trainer. A training that was killed is the same run when it goes on: the journal says what was
told, and what a tracker lost is told again. Nothing here is an artifact's content. Knows no stage and no model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import psutil

from slmops.core.files import write_whole
from slmops.core.measurement import Measurement
from slmops.training.curve import Moment
from slmops.training.trackers import Parameter, Row, Run, Tracker, failures, open_tracker


def name_of_run(scratch: Path, stage: str) -> str:
    """The name under which a training is followed; kept in its scratch folder, so that a kill does not change it."""
    path = scratch / "run"
    if not path.is_file():
        write_whole(path, f"{stage}-{datetime.now():%Y%m%dT%H%M%S}-{uuid4().hex[:4]}")
    return path.read_text("utf-8")


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Parameter]:
    """Settings as trackers take them: nested keys with dots, a list as its text, nothing where there is none."""
    found: dict[str, Parameter] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{above}{name}.")
        elif value is not None:
            found[above + name] = value if isinstance(value, Parameter) else ", ".join(map(str, value))
    return found


@contextmanager
def followed(run: Run, warn: Callable[[str], None]) -> Iterator[Callable[[Moment], None]]:
    """Whom to tell each moment. A tracker that fails is given up with one warning; the training goes on."""
    rows = read_journal(run)
    process = psutil.Process()
    process.cpu_percent()  # counted from here
    telling = _Telling(run, rows, warn)

    def hear(moment: Moment) -> None:
        if rows and moment.point.step <= rows[-1].step:  # told before the kill
            return
        machine = {"cpu_percent": process.cpu_percent(), "memory_mb": process.memory_info().rss / 1e6}
        rows.append(Row(moment.point.step, time.time(), _figures(moment) | machine))
        telling.tell(rows[-1:])

    try:
        yield hear
    except BaseException:
        telling.close(finished=False)
        raise
    telling.close(finished=True)


def read_journal(run: Run) -> list[Row]:
    """What was told of a run; a last line that a kill cut off counts for nothing."""
    path = _path(run)
    return [Row(**json.loads(line)) for line in _whole_lines(path).splitlines()] if path.is_file() else []


def resources(rows: Sequence[Row]) -> list[tuple[str, str, float]]:
    """(figure, unit, value) of what a whole run took; nothing where nothing was told."""
    if not rows:
        return []
    told = {name: [row.figures[name] for row in rows] for name in ("examples_per_s", "cpu_percent", "memory_mb")}
    return [
        ("training_examples_per_s", "/s", median(told["examples_per_s"])),
        ("training_cpu_percent", "%", median(told["cpu_percent"])),
        ("training_memory_mb", "MB", max(told["memory_mb"])),
    ]


def say_resources(measured: Iterable[Measurement]) -> str:
    """What a training took, in words; nothing where nothing was told."""
    told = {one.name: one.value.value for one in measured}
    if "training_memory_mb" not in told:
        return ""
    speed, cores = told["training_examples_per_s"], told["training_cpu_percent"] / 100
    return f"learned {speed:,.3g} examples/s on {cores:.1f} cores, {told['training_memory_mb']:,.0f} MB at most"


class _Journal:
    """The file from which all that was told is known: a line a row."""

    def __init__(self, run: Run, rows: Sequence[Row]) -> None:
        self.known = rows[-1].step if rows else 0
        path = _path(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a", encoding="utf-8")
        self._stream.truncate(len(_whole_lines(path)))

    def tell(self, row: Row) -> None:
        self._stream.write(json.dumps(asdict(row)) + "\n")
        self._stream.flush()

    def close(self, finished: bool) -> None:
        self._stream.close()


class _Telling:
    """All who are told, the journal last: what stands in it, everyone was told."""

    def __init__(self, run: Run, rows: Sequence[Row], warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._trackers: dict[str, Tracker] = {}
        for name in dict.fromkeys(run.config.to):
            with self._going_on_without(name):
                self._trackers[name] = open_tracker(name, run)
        with self._going_on_without("journal"):
            self._trackers["journal"] = _Journal(run, rows)
        self.tell(rows)

    def tell(self, rows: Iterable[Row]) -> None:
        for row in rows:
            for name, tracker in list(self._trackers.items()):
                if row.step > tracker.known:
                    with self._going_on_without(name):
                        tracker.tell(row)

    def close(self, finished: bool) -> None:
        for name, tracker in list(self._trackers.items()):
            with self._going_on_without(name):
                tracker.close(finished)

    @contextmanager
    def _going_on_without(self, name: str) -> Iterator[None]:
        try:
            yield
        except failures(name) as error:
            self._trackers.pop(name, None)
            self._warn(f"warning: {name} fails and is told no more, training goes on: {str(error)[:300]}")


def _figures(moment: Moment) -> dict[str, float]:
    point = moment.point
    held_out = {} if point.validation_loss is None else {"validation_loss": point.validation_loss}
    judged = {} if point.metric is None else {"validation_metric": point.metric}
    return {
        "loss": point.loss,
        **held_out,
        **judged,
        "learning_rate": moment.learning_rate,
        "gradient_norm": moment.gradient_norm,
        **{f"gradient_norm_of_{name}": norm for name, norm in point.gradients.items()},
        "examples_per_s": moment.examples / moment.seconds,
    }


def _path(run: Run) -> Path:
    return run.folder / "journal" / f"{run.name}.jsonl"


def _whole_lines(path: Path) -> bytes:
    return b"".join(line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))
