"""`make bench`: every figure that the issue "The main job" asks for, in one run, into benchmarks/results/main.json.

Takes about an hour; killed, it goes on with the next row. Clones and projects stand in build/bench/COMMIT, what is
measured is the committed state. `--only ID` measures one row, `--again` also what this commit has already.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import packing
from benchmarks.clone import Clone, Done, clone_into, find_clone, latest_artifacts
from benchmarks.kills import Runner, copy_project, kill_and_compare, write_tiny_project
from benchmarks.projects import above_classical, figures_of
from benchmarks.results import ROOT, Asked, Group, Measured, Target, describe_commit, of_one, parser, run
from slmops.core.artifact import Manifest
from slmops.core.measurement import Interval
from slmops.core.statistics import percentile_interval

SEED = 7
_KEPT = Target("≥ 97 % of the teacher's on the held-out test", "at least", 0.97)
_ABOVE = Target("above the classical baseline", "above", 0)
_SAME_IDS = Target("same final artifacts' ids as the run that was left alone", "exactly", 1)

DEMO = (
    Asked(
        "demo",
        "`make demo` from a clean clone, packages and model download included",
        "min",
        Target("under 12 min", "under", 12),
    ),
    Asked("pipeline", "the pipeline itself, from its first stage to its last", "min", Target("under 8", "under", 8)),
    Asked("second_demo", "second `make demo`", "s", Target("under 5 s, nothing run again", "under", 5)),
)
EVIDENCE = (
    Asked("accuracy_kept", "accuracy of the int4 student against the teacher's", "share", _KEPT),
    Asked("accuracy_margin", "accuracy of the int4 student minus the classical baseline's", "share", _ABOVE),
    Asked(
        "latency", "end-to-end latency, int4 student against fp32 torch teacher", "ms", Target("−85 %", "at most", 0.15)
    ),
    Asked(
        "model_bytes", "model bytes, int4 student against fp32 torch teacher", "bytes", Target("−93 %", "at most", 0.07)
    ),
    Asked("memory", "peak memory, int4 student against fp32 torch teacher", "MB", Target("−75 %", "at most", 0.25)),
    Asked("latency_int4", "end-to-end latency, int4 student against the teacher's int4", "ms"),
    Asked("model_bytes_int4", "model bytes, int4 student against the teacher's int4", "bytes"),
    Asked("memory_int4", "peak memory, int4 student against the teacher's int4", "MB"),
    Asked("foundry_accuracy", "accuracy as Foundry Local answers (peer: the artifact inside its label trie)", "share"),
    Asked(
        "foundry_valid", "valid answers as Foundry Local answers (peer: the artifact inside its label trie)", "share"
    ),
    Asked(
        "foundry_same",
        "Foundry Local's answers that are equal to the artifact's own",
        "share",
        Target("equal to the artifact's own", "exactly", 1),
    ),
)
KILLS_TINY = Asked("kills_two_layers", "artifacts with the same id after 20 SIGKILLs, two-layer model", "", _SAME_IDS)
KILLS_REAL = Asked("kills_real", "artifacts with the same id after 3 SIGKILLs, the example", "", _SAME_IDS)
HELP = Asked(
    "help",
    "`slmops --help`, median of 10 (peer: `python -c pass`, taking turns)",
    "ms",
    Target("under 300 ms", "under", 300),
)
TESTS = Asked(
    "tests",
    "`make test` on a new clone",
    "min",
    Target("under 15 min, every test run, none skipped for a missing part", "under", 15),
)


def main() -> int:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--cold", action="store_true", help="clones find no pip cache: packages are downloaded")
    given = arguments.parse_args()
    place = ROOT / "build" / "bench" / describe_commit()[:12]
    return run("main", groups(place, keep_pip_cache=not given.cold), given)


def groups(place: Path, *, keep_pip_cache: bool) -> list[Group]:
    """All rows, in the order in which they are measured."""
    demo = find_clone(place / "demo", keep_pip_cache=keep_pip_cache)
    return [
        Group((HELP,), lambda wanted: [("help", time_help())]),
        *packing.groups(),
        Group(DEMO, functools.partial(measure_demo, demo)),
        Group(EVIDENCE, lambda wanted: read_evidence(_with_demo(demo).report())),
        Group((KILLS_TINY,), lambda wanted: [("kills_two_layers", kill_two_layers(place / "kills", kills=20))]),
        Group((KILLS_REAL,), lambda wanted: [("kills_real", kill_the_example(_with_demo(demo), kills=3))]),
        Group((TESTS,), lambda wanted: [("tests", time_tests(place / "tests", keep_pip_cache))]),
    ]


def time_help() -> Measured:
    """The command and an interpreter that does nothing, one after the other."""
    slmops = str(Path(sys.executable).with_name("slmops"))
    pairs = np.array([(_time_ms([slmops, "--help"]), _time_ms([sys.executable, "-c", "pass"])) for _ in range(11)])
    ours, peer = pairs[1:].T  # the first pair fills the disk's cache
    found = percentile_interval(ours, 50)
    return Measured(found.value, found, float(np.median(peer)))


def measure_demo(demo: Clone, wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    """The first run in a new clone, then a second one."""
    if wanted & {"demo", "pipeline"} or not _is_made(demo):
        first = _make_demo(demo)
        cache = "pip's cache kept" if demo.keep_pip_cache else "pip's cache empty"
        yield "demo", of_one(first.seconds / 60, note=cache)
        yield "pipeline", of_one(pipeline_seconds(latest_artifacts(demo.example)) / 60)
    if "second_demo" in wanted:
        before = latest_artifacts(demo.example)
        second = demo.make("demo")
        again = _made_again(before, latest_artifacts(demo.example))
        yield "second_demo", of_one(second.seconds, spoiled=f"made again: {', '.join(again)}" if again else "")


def read_evidence(report: Mapping[str, Any]) -> Iterator[tuple[str, Measured]]:
    """The rows that the demo's own report answers."""
    figures = figures_of(report)
    shipped, teacher = figures[report["shipped"]], figures["teacher"]
    kept = Interval.from_json(report["accuracy_kept"])
    yield "accuracy_kept", Measured(shipped["accuracy"].value, kept, teacher["accuracy"].value)
    margin = above_classical(report)
    classical = f"{shipped['accuracy'].value:.3f} against {figures['classical']['accuracy'].value:.3f}"
    yield "accuracy_margin", Measured(margin.value, margin, note=classical)
    for against, gain, suffix in (
        ("teacher", report, ""),
        ("teacher_int4", report["against_teacher_int4"], "_int4"),
    ):
        for name, figure in (("latency", "latency_ms"), ("model_bytes", "model_bytes"), ("memory", "peak_memory_mb")):
            remaining = Interval.from_json(gain[f"{name}_reduction"]).remaining()
            peer = figures[against][figure].value
            yield f"{name}{suffix}", Measured(shipped[figure].value, remaining, peer)
    foundry = report["foundry_local"]
    for name, figure, answered in (
        ("foundry_accuracy", "accuracy", "quality"),
        ("foundry_valid", "valid_answers", "valid_answers"),
    ):
        own = shipped[figure].value
        found = Interval.from_json(foundry[answered])
        yield name, Measured(found.value, found.scaled(1 / own), own)
    same = Interval.from_json(foundry["same_as_artifact"])
    yield "foundry_same", Measured(same.value, same)


def kill_two_layers(folder: Path, kills: int) -> Measured:
    """A run left alone, and one that is killed, of the default model cut to two layers."""
    from slmops.models.references import resolve

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "alone").mkdir(parents=True)
    write_tiny_project(folder / "alone", resolve(packing.MODEL).folder, ROOT / "examples" / "support-triage" / "data")
    environment = {name: value for name, value in os.environ.items() if name != "SLMOPS_STORE"}
    runner = Runner((str(Path(sys.executable).with_name("slmops")), "run"), environment)
    killed = copy_project(folder / "alone", folder / "killed")
    runner.run(folder / "alone")
    return kill_and_compare(runner, killed, latest_artifacts(folder / "alone"), kills, SEED)


def kill_the_example(demo: Clone, kills: int) -> Measured:
    """The demo is the run that was left alone."""
    killed = copy_project(demo.example, demo.home.parent / "killed")
    runner = Runner((demo.slmops(), "run"), demo.environment())
    return kill_and_compare(runner, killed, latest_artifacts(demo.example), kills, SEED)


def time_tests(folder: Path, keep_pip_cache: bool) -> Measured:
    """`make test` in a clone of its own, packages and model download included."""
    done = clone_into(folder, keep_pip_cache=keep_pip_cache).make("test")
    passed, skipped = count_tests(done.said)
    shutil.rmtree(folder)
    minutes = done.seconds / 60
    found = Interval(minutes, minutes, minutes, n=passed)
    return Measured(minutes, found, note=f"{passed} tests passed", spoiled=f"{skipped} skipped" if skipped else "")


def count_tests(said: str) -> tuple[int, int]:
    """How many tests passed, and how many were skipped or left out, by pytest's last line."""
    last = next(line for line in reversed(said.splitlines()) if re.search(r"\d+ passed", line))
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", last)}
    return counts["passed"], sum(counts.get(word, 0) for word in ("skipped", "deselected", "xfailed"))


def pipeline_seconds(artifacts: Mapping[str, Manifest]) -> float:
    """From the start of the first stage to the end of the last."""
    starts = {name: datetime.fromisoformat(made.made_by.started).timestamp() for name, made in artifacts.items()}
    return max(starts[name] + made.made_by.seconds for name, made in artifacts.items()) - min(starts.values())


def _with_demo(demo: Clone) -> Clone:
    if not _is_made(demo):
        _make_demo(demo)
    return demo


def _is_made(demo: Clone) -> bool:
    return "evidence" in latest_artifacts(demo.example)


def _make_demo(demo: Clone) -> Done:
    return clone_into(demo.home.parent, keep_pip_cache=demo.keep_pip_cache).make("demo")


def _made_again(before: Mapping[str, Manifest], after: Mapping[str, Manifest]) -> list[str]:
    return sorted(name for name in after if name not in before or after[name].made_by.id != before[name].made_by.id)


def _time_ms(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1e3


if __name__ == "__main__":
    sys.exit(main())
