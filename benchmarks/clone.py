"""A newcomer's machine: a clean clone of the committed state, an empty home, and `make` in it.

In comes a folder, out go how long a target took, what it said and what it made. pip's settings are kept, its cache too
unless told otherwise; nothing else of this user's is: no environment, no models, no settings of slmops.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import ROOT
from slmops.core.artifact import Manifest
from slmops.core.store import Store

_DROPPED = ("SLMOPS_", "HF_", "PYTHON", "VIRTUAL_ENV", "XDG_", "MAKE", "MFLAGS", "OMP_", "PYTEST")
_PIP_SETTINGS = (".config/pip/pip.conf", ".pip/pip.conf")
_SAID_CHARACTERS = 1500


@dataclass(frozen=True)
class Done:
    """A command that has ended well."""

    seconds: float
    said: str


@dataclass(frozen=True)
class Clone:
    """A clone in `folder`, used by somebody whose home is `home`."""

    folder: Path
    home: Path
    keep_pip_cache: bool = True

    @property
    def example(self) -> Path:
        return self.folder / "examples" / "support-triage"

    def make(self, target: str) -> Done:
        """Runs `make TARGET`.

        Raises:
            RuntimeError: it failed; the message ends with what it said last.
        """
        return self._run(["make", target], self.folder)

    def slmops(self) -> str:
        """The command in the environment that `make` has built."""
        return str(self.folder / ".venv" / "bin" / "slmops")

    def report(self) -> dict[str, Any]:
        """What `slmops report --json` says of the example."""
        report: dict[str, Any] = json.loads(self._run([self.slmops(), "report", "--json"], self.example).said)
        return report

    def environment(self) -> dict[str, str]:
        """This user's, without what would not be there on a new machine."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
        own = {str(Path(sys.prefix) / "bin"), str(Path(sys.executable).parent)}
        path = os.pathsep.join(part for part in kept.get("PATH", "").split(os.pathsep) if part not in own)
        kept |= {"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8"}
        settings = [Path.home() / name for name in _PIP_SETTINGS if (Path.home() / name).is_file()]
        if settings:
            kept.setdefault("PIP_CONFIG_FILE", str(settings[0]))
        if self.keep_pip_cache:
            kept.setdefault("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip"))
        else:
            kept["PIP_CACHE_DIR"] = str(self.home / "pip-cache")
        return kept

    def _run(self, command: Sequence[str], folder: Path) -> Done:
        started = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=self.environment(), text=True, capture_output=True)
        seconds = time.perf_counter() - started
        if done.returncode:
            said = f"{done.stderr.strip()[-_SAID_CHARACTERS:]}\n{done.stdout.strip()[-_SAID_CHARACTERS:]}"
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode} after {seconds:.0f} s: {said}")
        return Done(seconds, done.stdout)


def clone_into(folder: Path, *, keep_pip_cache: bool = True) -> Clone:
    """A new clone of the committed state in `folder`/slmops, beside an empty home; what was in `folder` is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    clone = find_clone(folder, keep_pip_cache=keep_pip_cache)
    clone.home.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone.folder)], check=True)
    return clone


def find_clone(folder: Path, *, keep_pip_cache: bool = True) -> Clone:
    """The clone that `clone_into` made."""
    return Clone(folder / "slmops", folder / "home", keep_pip_cache)


def latest_artifacts(project: Path) -> dict[str, Manifest]:
    """The newest artifact of each stage that was ever made in a project's own store."""
    root = project / ".slmops" / "store"
    if not root.is_dir():
        return {}
    store = Store(root)
    return {name.rpartition("/")[2]: store.manifest(name) for name in {entry.name for entry in store.entries()} if name}
