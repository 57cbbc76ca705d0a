"""A piece of work in a process of its own, so that its memory and threads are its own: a job goes in as JSON, what was
found comes out as the last line. Knows no work."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from benchmarks.results import ROOT


def run_module(module: str, job: Any) -> dict[str, Any]:
    """What `python -m MODULE` says last of a `job`, a dataclass, on its standard input."""
    command, asked = [sys.executable, "-m", module], json.dumps(asdict(job))
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
