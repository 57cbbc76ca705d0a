"""Runs projects in processes that can be killed, one after another: imports once, then forks for each run.

Reads a JSON line per run on stdin, {"folder": …, "checkpoint_every_s": …}; writes {"pid": …} when it begins, a line
{"stage": …, "share": …} at each step, and {"status": …} when the process has ended (minus the signal that killed it).
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

import peft  # noqa: F401  what a run imports anyway, paid once
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast  # noqa: F401

from slmops.stages.project import Project
from slmops.stages.run import run
from slmops.training.trainer import train


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _say(pid=os.getpid())
            defaults = inspect.unwrap(train).__kwdefaults__
            assert defaults  # tiny models never train so long that they would be saved
            defaults["checkpoint_every_s"] = asked["checkpoint_every_s"]
            run(
                Project.load(Path(asked["folder"]) / "slmops.yaml"),
                progress=lambda stage, share, note: _say(stage=stage, share=share),
            )
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        _say(status=os.waitstatus_to_exitcode(status))


def _say(**told: Any) -> None:
    os.write(1, (json.dumps(told) + "\n").encode())


if __name__ == "__main__":
    main()
