"""What trainings share: states of layers that stay, kept over epochs and trials; a training that is killed and goes on;
and a search that is killed and goes on, and ends trials early that fall behind.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from benchmarks.beside_trl import number_format
from benchmarks.clone import latest_artifacts
from benchmarks.kills import Moment, Runner, kill_while_running
from benchmarks.learn import MODEL, Job, learn
from benchmarks.public import read_intents
from benchmarks.results import ROOT, SLMOPS, Asked, Group, Measured, Target, of_one
from slmops.core.measurement import Interval
from slmops.core.store import Store

_UPPER = {"method": "lora", "upper_layers": 1 / 3, "batch_size": 8}
_ROWS, _EPOCHS, _TRAININGS = 16, 3, 10
_SEED = 7
_TRIALS, _KILLS, _SEARCHED = 20, 3, 200

_STEPS, _KILLED_AT = 24, 10

_PROJECT = f"""\
name: searched
data: {{train: train.jsonl, test: test.jsonl}}
student:
  model: {MODEL}
  train:
    method: lora
    upper_layers: 0.2
    epochs: 2
    search:
      num_trials: {_TRIALS}
      search_strategy: tpe
      halving: HALVING
      search_space:
        learning_rate: {{type: float, low: 1.0e-5, high: 1.0e-2, log: true}}
        rank: {{type: int, low: 4, high: 64, log: true}}
        targets: {{type: choice, values: [all, [q_proj, v_proj]]}}
optimization: []
evaluation: {{compare: [student]}}
"""


def groups() -> list[Group]:
    upper = f"LoRA on the upper third of the layers, {_ROWS} GSM8K rows, states of the others kept (peer: not kept)"
    epochs = Asked("kept-epochs", f"{upper}: {_EPOCHS} epochs", "s", Target("≥ 1.3 ×", "at least", 1.3))
    trained = Asked("kept-trials", f"{upper}: {_TRAININGS} trials", "s", Target("≥ 1.6 ×", "at least", 1.6))
    rows = f"{_SEARCHED} intents, rank, rate and targets searched by TPE"
    killed = Asked(
        "search-trials",
        f"trials of a search killed {_KILLS} times; {rows}",
        "",
        Target("20 in total, best score ≥ random default's", "exactly", _TRIALS),
    )
    halved = Asked(
        "search-halving",
        f"wall time of {_TRIALS} trials with halving (peer: without); {rows}",
        "s",
        Target("wall time with halving ≤ 0.5 × without", "at most", 0.5),
    )
    resumed = Asked(
        "resumed",
        f"weights with the same bits after a training was killed at {_KILLED_AT} random steps of {_STEPS} (SIGKILL)",
        "share",
        Target("bit-identical weights", "exactly", 1),
    )
    return [
        Group((epochs,), _kept_epochs),
        Group((trained,), _kept_trials),
        Group((resumed,), _resumed),
        Group((killed, halved), _search),
    ]


def _kept_epochs(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    yield "kept-epochs", _kept({**_UPPER, "epochs": _EPOCHS}, 1)


def _kept_trials(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    yield "kept-trials", _kept(_UPPER, _TRAININGS)


def _kept(options: dict[str, object], again: int) -> Measured:
    """Decided is how many times faster it is."""
    kept, anew = (
        learn(Job("gsm8k", _ROWS, options, number_format(), again=again, reused=reused)).whole_s
        for reused in (True, False)
    )
    return Measured(kept, Interval.exact(anew / kept), anew)


def _resumed(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    options = {"method": "lora", "dropout": 0.1, "batch_size": 4, "upper_layers": 0.5}
    steps = sorted(np.random.default_rng(_SEED).choice(np.arange(1, _STEPS), _KILLED_AT, replace=False).tolist())
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            "intents", 4 * _STEPS, options, number_format(), scratch=f"{folder}/alone", out=f"{folder}/left-alone"
        )
        learn(job)
        killed = replace(job, scratch=f"{folder}/killed", out=f"{folder}/resumed")
        for step in steps:
            kill_at(killed, step)
        learn(killed)
        alone, resumed = (load_file(Path(each.out, "model.safetensors")) for each in (job, killed))
    same = [name for name, weight in alone.items() if np.array_equal(weight, resumed[name])]
    yield "resumed", of_one(len(same) / len(alone), note=f"{number_format()}; killed at steps {steps}")


def kill_at(job: Job, step: int) -> None:
    """Lets the training go until it has taken that step."""
    command = [sys.executable, "-m", "benchmarks.learn"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin and process.stderr
    process.stdin.write(json.dumps(asdict(job)))
    process.stdin.close()
    for line in process.stderr:
        if (found := re.match(r"step (\d+)/", line)) and int(found[1]) >= step:
            process.kill()
            break
    if process.wait() != -signal.SIGKILL:
        raise RuntimeError(f"the training ended before step {step}: {process.returncode}")


def _search(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner((SLMOPS, "run"), dict(os.environ))
        alone, killed = (_project(Path(folder, name), halving=True) for name in ("alone", "killed"))
        without = _project(Path(folder, "without"), halving=False)
        runner.run(alone)
        seconds = _seconds(alone)
        moments = [Moment("student", seconds * share) for share in (0.2, 0.3, 0.4)]
        hit = kill_while_running(runner, killed, moments, ["", "dataset", "student", "evidence"])
        runner.run(killed)
        yield "search-trials", _told(killed, len(hit))
        runner.run(without)
        yield "search-halving", of_one(seconds, _seconds(without))


def _told(project: Path, kills: int) -> Measured:
    student = latest_artifacts(project)["student"]
    found = json.loads((Store(project / ".slmops" / "store").open(student.id) / "search.json").read_text())
    trials = found["trials"]
    losses = {trial["number"]: trial["score"] for trial in trials}
    best, default = losses[found["best"]], losses[0]
    note = f"{kills} kills; loss of the best {best:.3f}, of the default {default:.3f}"
    spoiled = "" if kills == _KILLS and len(losses) == len(trials) and best <= default else "not as asked"
    return Measured(len(trials), Interval.exact(len(trials)), None, note, spoiled)


def _seconds(project: Path) -> float:
    return latest_artifacts(project)["student"].made_by.seconds


def _project(folder: Path, *, halving: bool) -> Path:
    folder.mkdir()
    for part, count in (("train", _SEARCHED), ("test", 30)):
        rows = read_intents(part)
        chosen = rows[:: len(rows) // count][:count]
        lines = (json.dumps({"text": row["text"], "label": row["label"]}) for row in chosen)
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "slmops.yaml").write_text(_PROJECT.replace("HALVING", json.dumps(halving)))
    return folder
