"""A run that is killed twenty times ends with the very artifacts of a run that was left alone."""

from __future__ import annotations

import bisect
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slmops.core.store import Store
from tests.stages.tiny_project import write_project

_KILLS = 20
_STAGES = ["dataset", "teacher", "labels", "pruned", "targets", "student", "int4", "evidence", "bundle"]
_CHANGES = {
    "teacher": "{model: 'file:model', train: {method: lora, rank: 4, epochs: 4, learning_rate: 0.01}}",
    "synthesis": "{accept: {confidence: 0.3}}",
    "student": "{from: teacher, layers: 1, train: {epochs: 4, learning_rate: 0.01, batch_size: 16}}",
    "deployment": "foundry-local",
}
Place = tuple[int, float]  # how far a run is: the stage's number, and the share of it that is done


class Runs:
    """Runs of projects, one after another, each in a process of its own."""

    def __init__(self, scratch: Path) -> None:
        self._environment = os.environ | {"TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
        self._process: subprocess.Popen[str] | None = None

    def start(self, folder: Path, checkpoint_every_s: float) -> int:
        """Begins a run; returns its process's id."""
        command = [sys.executable, "-m", "tests.stages.told_run", str(folder), str(checkpoint_every_s)]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=self._environment)
        return int(next(self._told())["pid"])

    def places(self) -> Iterator[Place]:
        """Where the run is, whenever it says so."""
        for told in self._told():
            yield _STAGES.index(told["stage"]), told["share"]

    def end(self, places: Iterator[Place]) -> int:
        """Waits for the run's end; returns its status."""
        for _ in places:
            pass
        assert self._process
        return self._process.wait()

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()

    def _told(self) -> Iterator[dict[str, Any]]:
        assert self._process and self._process.stdout
        while line := self._process.stdout.readline():
            yield json.loads(line)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    (tmp_path / "scratch").mkdir()
    started = Runs(tmp_path / "scratch")
    yield started
    started.stop()


def test_twenty_kills_change_no_artifact(runs: Runs, tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for folder in (alone, killed):
        write_project(folder, **_CHANGES)
    moments = _moments(runs, alone, random.Random(20))

    for place, later_s in moments:
        pid = runs.start(killed, checkpoint_every_s=0)
        places = runs.places()
        reached = next((at for at in places if at >= place), None)
        assert reached, "the run ended before it could be killed"
        time.sleep(later_s)
        os.kill(pid, signal.SIGKILL)
        assert runs.end(places) == -signal.SIGKILL
    runs.start(killed, checkpoint_every_s=0)
    assert runs.end(runs.places()) == 0

    assert _ids(killed) == _ids(alone)
    assert len(_ids(killed)) == len(_STAGES)
    assert Store(killed / ".slmops" / "store").verify() == []
    assert not any((killed / ".slmops" / "work").iterdir())


def _moments(runs: Runs, folder: Path, chance: random.Random) -> list[tuple[Place, float]]:
    """Lets a run be, and draws moments from all of its time: after which place, and how long after."""
    runs.start(folder, checkpoint_every_s=20)
    started = time.perf_counter()
    places = runs.places()
    reached = [(time.perf_counter() - started, place) for place in places]
    assert runs.end(places) == 0
    # Half of the last stage is left out, so that a run that is faster than this one is still killed in time.
    end_s = (time.perf_counter() - started + reached[-1][0]) / 2
    moments = []
    for at_s in sorted(chance.uniform(reached[0][0], end_s) for _ in range(_KILLS)):
        passed_s, place = reached[bisect.bisect(reached, at_s, key=lambda one: one[0]) - 1]
        moments.append((place, at_s - passed_s))
    return moments


def _ids(folder: Path) -> dict[str, str]:
    """The latest artifact of each stage."""
    store = Store(folder / ".slmops" / "store")
    return {entry.name: entry.id for entry in store.entries() if "latest" in entry.aliases}
