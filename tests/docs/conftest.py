"""The places where the pages' examples run: an empty folder, one with data, a tiny model with two adapters, and a
project on such a model, all made."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slmops.stages.adapters import AdapterConfig, train
from tests.stages.tiny_project import write_project, write_rows

Place = Callable[[str], Path]


@pytest.fixture(scope="session")
def environment(warm: Path) -> dict[str, str]:
    """This interpreter's commands come first, and the network is left alone."""
    search = os.pathsep.join([str(warm.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    wanted = {"PATH": search, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return {name: value for name, value in os.environ.items() if name != "SLMOPS_STORE"} | wanted


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """A project called as in the pages, run to its end."""
    folder = tmp_path_factory.mktemp("made")
    compare = "{compare: [teacher, int4], verdict: 2}"
    search = "{num_trials: 2, search_space: {distillation.temperature: {type: float, low: 1, high: 2}}}"
    student = "{from: teacher, layers: 1, train: {epochs: 4, learning_rate: 0.01}}"  # a verdict trains six
    made = {"evaluation": compare, "deployment": "foundry-local", "search": search, "student": student}
    write_project(folder, name="support-triage", **made)
    subprocess.run(["slmops", "run"], cwd=folder, env=environment, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapted")
    write_project(folder)
    for name, rank in {"fr": 4, "de": 2}.items():
        config = AdapterConfig.model_validate({"train": {"rank": rank}})
        train(f"file:{folder / 'model'}", folder / "data" / "labelled.jsonl", folder / "adapters" / name, config)
    return folder


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The folder that a page's mark names: `empty`, `data`, `adapted` or `made`."""

    def find(name: str) -> Path:
        if name in ("made", "adapted"):
            made: Path = request.getfixturevalue(name)
            return made
        folder = tmp_path_factory.mktemp(name)
        if name == "data":
            texts = {label: [f"{label} number {word}" for word in ("one", "two", "six")] for label in ("a", "b")}
            rows = [{"text": text, "label": label} for label, own in texts.items() for text in own]
            write_rows(folder / "data" / "labelled.jsonl", rows)
            write_rows(folder / "data" / "test.jsonl", [{"text": f"more {row['text']}"} | row for row in rows])
            write_rows(folder / "data" / "unlabelled.jsonl", [{"text": "whatever it is"}])
        return folder

    return find
