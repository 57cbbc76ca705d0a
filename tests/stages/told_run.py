"""Runs a project and says where it is, to be killed there: `python -m tests.stages.told_run FOLDER SECONDS`.

Saves a checkpoint every so many seconds. Writes {"pid": …} when it begins, and {"stage": …, "share": …} at each step.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

from slmops.stages.project import Project
from slmops.stages.run import run
from slmops.training.trainer import train


def main(folder: Path, checkpoint_every_s: float) -> None:
    _say(pid=os.getpid())
    defaults = inspect.unwrap(train).__kwdefaults__
    assert defaults  # tiny models never train so long that they would be saved
    defaults["checkpoint_every_s"] = checkpoint_every_s
    run(
        Project.load(folder / "slmops.yaml"),
        progress=lambda stage, share, note: _say(stage=stage, share=share),
    )


def _say(**told: Any) -> None:
    os.write(1, (json.dumps(told) + "\n").encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
