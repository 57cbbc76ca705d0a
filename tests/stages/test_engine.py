"""Several processes train one model: those that torchrun starts, or actors of Ray, of which one is killed."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slmops.core.errors import SlmopsError
from slmops.core.pipeline import Stage
from slmops.stages.assemble import assemble
from slmops.stages.project import Project
from slmops.stages.run import open_store, run
from slmops.training.trainer import train
from tests.stages.tiny_project import write_config, write_project

_RAY = "{type: ray, workers: 2, address: local}"
_CHANGES = {
    "data": "{train: data/labelled.jsonl, test: data/test.jsonl}",
    "teacher": None,
    "synthesis": None,
    "student": "{model: 'file:model', train: {epochs: 8, learning_rate: 0.01, patience: 9, validations: 20}}",
    "optimization": "[]",
    "evaluation": None,
}


def written(folder: Path, engine: str | None) -> Path:
    folder.mkdir()
    return write_project(folder, **_CHANGES | {"engine": engine})


def student_of(path: Path) -> str:
    return open_store(Project.load(path)).manifest("tiny/student@latest").id


@pytest.fixture(scope="module")
def by_torchrun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project that torchrun's processes made the student of, and what they printed."""
    path = written(tmp_path_factory.mktemp("torchrun") / "project", "{workers: 2}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    command += [str(Path(sys.executable).with_name("slmops")), "distill"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=path.parent, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return path, done.stdout


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """Checkpoints after every step, and no cluster left over."""
    import ray

    defaults = inspect.unwrap(train).__kwdefaults__
    assert defaults
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(defaults, "checkpoint_every_s", 0.0)
        yield
    ray.shutdown()


def test_torchrun_starts_workers_of_which_one_tells(by_torchrun: tuple[Path, str]) -> None:
    assert re.findall("^made .*", by_torchrun[1], re.MULTILINE) == ["made dataset, pruned, student"]


def test_a_killed_worker_of_ray_changes_no_weight(ray: None, by_torchrun: tuple[Path, str], tmp_path: Path) -> None:
    path, notes = written(tmp_path / "project", _RAY), []

    def watch(stage: str, share: float, note: str) -> None:
        notes.append(note)
        if stage == "student" and note.startswith("step 17/") and "lost" not in " ".join(notes):
            (worker,) = (child for child in psutil.Process().children(recursive=True) if "Follower" in child.name())
            worker.kill()

    run(Project.load(path), until="student", progress=watch)

    lost = notes.index("warning: a worker was lost; going on from the checkpoint")
    again = [int(found[1]) for note in notes[lost:] if (found := re.match(r"step (\d+)/", note))]
    assert again[0] in (17, 18, 19)
    assert again == list(range(again[0], again[-1] + 1))
    assert student_of(path) == student_of(by_torchrun[0])  # left alone, and by other means


def test_workers_that_were_not_started_are_missed(tmp_path: Path) -> None:
    path = written(tmp_path / "project", "{workers: 2}")
    with pytest.raises(SlmopsError, match="2 workers, and 1 were started — start them: torchrun --nproc-per-node 2"):
        run(Project.load(path), until="student")


def test_how_many_workers_decides_what_is_made_and_not_how_they_come(tmp_path: Path) -> None:
    path = written(tmp_path / "project", None)

    def student(engine: str | None) -> Stage:
        write_config(path.parent, **_CHANGES | {"engine": engine})
        return next(stage for stage in assemble(Project.load(path)) if stage.name == "student")

    assert student(None).section == student("local").section == student("{workers: 1}").section
    assert student(_RAY).section == student("{workers: 2}").section != student("{workers: 3}").section
    assert "workers" not in student(None).section
