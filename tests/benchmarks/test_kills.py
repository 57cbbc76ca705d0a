"""Kills really hit a running pipeline, and what differs afterwards is found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.clone import latest_artifacts
from benchmarks.kills import STARTING, Moment, Runner, copy_project, draw_moments, kill_and_compare, kill_while_running
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import kills
from slmops.core.artifact import Manifest, Run

PIPELINE = """
import sys, time
from pathlib import Path
from slmops.core.pipeline import Estimate, Stage, plan, run
from slmops.core.store import Store

def write(name):
    def make(work):
        time.sleep(0.3)
        (work.out / "file").write_text(CONTENT)
    return make

CONTENT = "same" if sys.argv[1:] == [] else str(time.time())
stages = [Stage("first", 1, {}, None, write("first"), Estimate(0, 0))]
stages += [Stage("second", 1, {"first": "first"}, None, write("second"), Estimate(0, 0))]
store = Store(Path(".slmops/store"))
list(run(plan(stages, store, Path(".slmops"), "p", {}), store, Path(".slmops"), "p", {}, seed=7))
"""


def project(folder: Path) -> Path:
    folder.mkdir()
    (folder / "pipeline.py").write_text(PIPELINE)
    return folder


def runner(*arguments: str) -> Runner:
    return Runner((sys.executable, "pipeline.py", *arguments), os.environ)


def made(stage: str, started: str, seconds: float) -> Manifest:
    return Manifest(stage, stage, stage, {}, {}, Run("", "", 7, {}, {}, started, seconds))


ALONE = {
    "long": made("long", "2026-01-01T00:00:05+00:00", 90.0),
    "short": made("short", "2026-01-01T00:00:00+00:00", 4.0),
}


def test_a_run_killed_in_each_stage_makes_the_same_in_the_end(tmp_path: Path) -> None:
    alone, killed = project(tmp_path / "alone"), copy_project(tmp_path / "alone", tmp_path / "killed")
    runner().run(alone)
    moments = [Moment(STARTING, 0.05), Moment("first", 0.1), Moment("second", 0.1)]
    assert kill_while_running(runner(), killed, moments, [STARTING, "first", "second"]) == ["", "first", "second"]
    assert set(latest_artifacts(killed)) == {"first"}
    runner().run(killed)
    ids = [{name: made.id for name, made in latest_artifacts(place).items()} for place in (alone, killed)]
    assert ids[0] == ids[1]


def test_a_run_that_makes_something_else_is_found(tmp_path: Path) -> None:
    alone, other = project(tmp_path / "alone"), copy_project(tmp_path / "alone", tmp_path / "other")
    runner().run(alone)
    found = kill_and_compare(runner("otherwise"), other, latest_artifacts(alone), kills=0, seed=7)
    assert found.ours == 0 and found.peer == 2
    assert found.spoiled == "other ids: first, second"


def test_kills_that_come_too_late_are_not_counted(tmp_path: Path) -> None:
    place = project(tmp_path / "project")
    assert kill_while_running(runner(), place, [Moment("second", 60.0)], [STARTING, "first", "second"]) == []


@given(count=st.integers(1, 40), seed=st.integers(0, 1000))
def test_moments_lie_within_their_stages_and_in_order(count: int, seed: int) -> None:
    moments = draw_moments(ALONE, count, seed)
    order, lengths = [STARTING, "short", "long"], {STARTING: kills._STARTING_S, "short": 4.5, "long": 90.5}
    assert len(moments) == count
    assert all(0 <= moment.offset_s <= lengths[moment.stage] for moment in moments)
    assert moments == sorted(moments, key=lambda moment: (order.index(moment.stage), moment.offset_s))


def test_a_long_stage_is_hit_most() -> None:
    stages = [moment.stage for moment in draw_moments(ALONE, 200, seed=7)]
    assert stages.count("long") > 150
