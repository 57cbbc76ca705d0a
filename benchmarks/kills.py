"""Kills a pipeline at random moments (SIGKILL), resumes it each time, and compares what it made in the end.

In come a project and the artifacts of a run that was left alone; out go how many of the resumed run's have the same id.
The moments are drawn evenly over the time the stages of the other run took, so that every stage is hit as often as it
is long. Knows no model.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.clone import latest_artifacts
from benchmarks.results import Measured
from slmops.core.artifact import Manifest
from slmops.core.measurement import Interval
from slmops.models.folder import check_model_folder

STARTING = ""  # before the first stage
_STARTING_S = 4.0
_BETWEEN_S = 0.5  # an artifact is being committed
_POLL_S = 0.01

_TINY_YAML = """\
name: tiny
data: {train: data/labelled.jsonl, unlabelled: data/unlabelled.jsonl, test: data/test.jsonl}
teacher: {model: file:model, train: {epochs: 1}}
student: {from: teacher, layers: 1, train: {epochs: 2}}
synthesis: {augment: 1, accept: {confidence: 0.1}}
optimization: int4
deployment: foundry-local
"""


@dataclass(frozen=True)
class Moment:
    """`offset_s` after `stage` has begun."""

    stage: str
    offset_s: float


@dataclass(frozen=True)
class Runner:
    """How a project is run: a command, started in its folder, and the environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str]

    def start(self, project: Path) -> subprocess.Popen[bytes]:
        """Starts it; what it says is added to run.log there."""
        with (project / "run.log").open("ab") as log:
            return subprocess.Popen(
                self.command, cwd=project, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, project: Path) -> None:
        """Runs to the end.

        Raises:
            RuntimeError: it failed.
        """
        self.check(self.start(project).wait(), project)

    def check(self, exit_code: int, project: Path) -> None:
        """Refuses to go on after a failure."""
        if exit_code:
            said = (project / "run.log").read_text(errors="replace")[-1000:]
            raise RuntimeError(f"{' '.join(self.command)} ended with {exit_code}: {said}")


def kill_and_compare(runner: Runner, project: Path, alone: Mapping[str, Manifest], kills: int, seed: int) -> Measured:
    """Runs `project`, killed `kills` times, and holds its artifacts against those of the run that was left alone."""
    started = time.monotonic()
    order = [STARTING, *_in_order(alone)]
    hit = kill_while_running(runner, project, draw_moments(alone, kills, seed), order)
    runner.run(project)
    made = latest_artifacts(project)
    other = sorted(stage for stage in alone if stage not in made or made[stage].id != alone[stage].id)
    same = len(alone) - len(other)
    share = same / len(alone)
    killed_in = ", ".join(f"{stage or 'start'} {hit.count(stage)}" for stage in dict.fromkeys(hit))
    note = f"{len(hit)} kills ({killed_in}) in {time.monotonic() - started:.0f} s"
    problems = [f"other ids: {', '.join(other)}"] if other else []
    problems += [f"only {len(hit)} of {kills} kills met the run"] if len(hit) < kills else []
    return Measured(float(same), Interval(share, share, share, n=len(hit)), len(alone), note, "; ".join(problems))


def draw_moments(alone: Mapping[str, Manifest], kills: int, seed: int) -> list[Moment]:
    """Random moments of a run, earliest first. Its last twentieth is left out: a run that happens to be faster would
    end before the kill."""
    spans = [(STARTING, _STARTING_S)]
    spans += [(stage, alone[stage].made_by.seconds + _BETWEEN_S) for stage in _in_order(alone)]
    ends = np.cumsum([seconds for _, seconds in spans])
    moments = []
    for at in np.sort(np.random.default_rng(seed).uniform(0, 0.95 * ends[-1], kills)):
        index = int(np.searchsorted(ends, at, side="right"))
        stage, seconds = spans[index]
        moments.append(Moment(stage, float(at - ends[index] + seconds)))
    return moments


def kill_while_running(runner: Runner, project: Path, moments: Sequence[Moment], order: Sequence[str]) -> list[str]:
    """Starts the project as often as there are moments and kills it at each, or at once where a resumed run is already
    past it; returns which stage was hit. Ends early if the project does."""
    hit: list[str] = []
    for moment in moments:
        stage = _run_until(runner, project, moment, order[order.index(moment.stage) + 1 :])
        if stage is None:
            break
        hit.append(stage)
    return hit


def write_tiny_project(folder: Path, model: Path, data: Path) -> None:
    """A project whose teacher is `model` cut to two layers and whose data are the first rows of the example's."""
    from slmops.models.forward import load_causal_lm
    from slmops.optimization.prune import keep_layers, spread_layers

    check_model_folder(model)
    layers = json.loads((model / "config.json").read_text())["num_hidden_layers"]
    keep_layers(load_causal_lm(model), spread_layers(layers, 2)).save_pretrained(folder / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(model / name, folder / "model" / name)
    (folder / "data").mkdir()
    for name, rows in (("labelled", 240), ("unlabelled", 60), ("test", 60)):
        with (data / f"{name}.jsonl").open(encoding="utf-8") as lines:
            (folder / "data" / f"{name}.jsonl").write_text("".join(islice(lines, rows)), encoding="utf-8")
    (folder / "slmops.yaml").write_text(_TINY_YAML)


def copy_project(project: Path, folder: Path) -> Path:
    """The project as it was before its first run."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns(".slmops"))
    return folder


def _run_until(runner: Runner, project: Path, moment: Moment, later: Sequence[str]) -> str | None:
    """Kills the run and all it has started; None if it ended by itself.

    Raises:
        RuntimeError: it failed by itself.
    """
    started_at = time.time()
    due: float | None = None
    process = runner.start(project)
    try:
        while process.poll() is None:
            running = _running_stage(project, started_at)
            if due is None and running == moment.stage:
                due = time.time() + moment.offset_s
            elif due is None and running in later:
                due = time.time()  # what was to be hit is over
            if due is not None and time.time() >= due:
                return running
            time.sleep(_POLL_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    runner.check(process.returncode, project)
    return None


def _running_stage(project: Path, since: float) -> str:
    """The stage that has begun anew since then: it empties its `out` folder first."""
    for out in (project / ".slmops" / "work").glob("*/out"):
        try:
            if out.stat().st_mtime >= since:
                return out.parent.name.rpartition("-")[0]
        except FileNotFoundError:
            continue  # it has just been committed
    return STARTING


def _in_order(artifacts: Mapping[str, Manifest]) -> list[str]:
    """Stages as they were run; equal times in the order of need."""
    return sorted(artifacts, key=lambda stage: (datetime.fromisoformat(artifacts[stage].made_by.started), stage))
