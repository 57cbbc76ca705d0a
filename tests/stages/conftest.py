"""A project that was run to its end once, and copies of it to change."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slmops.stages.project import Project
from slmops.stages.run import run
from tests.stages.tiny_project import write_project


@pytest.fixture(scope="session", autouse=True)
def own_store() -> Iterator[None]:
    """Nobody's shared store is touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SLMOPS_STORE", raising=False)
        yield


@pytest.fixture(scope="package", autouse=True)
def started_warm(warm: Path) -> Iterator[None]:
    """What a run starts beside itself has its libraries loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(warm))
        yield


@pytest.fixture(scope="package")
def finished(started_warm: None, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with everything made: all subjects compared, and a bundle. To be looked at only."""
    folder = tmp_path_factory.mktemp("finished")
    project = Project.load(write_project(folder, evaluation=None, deployment="foundry-local"))
    run(project)
    return project


@pytest.fixture
def copied(finished: Project, tmp_path: Path) -> Path:
    """A copy of the finished project's folder, to be changed."""
    return Path(shutil.copytree(finished.root, tmp_path / "copied"))
