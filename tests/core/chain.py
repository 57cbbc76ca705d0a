"""A pipeline of small stages that only write files: a → b → d and a → c → d. Run as a program, it runs them slowly, so
that it can be killed:

    python -m tests.core.chain FOLDER PAUSE_S
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slmops.core.pipeline import Estimate, Made, Planned, Stage, Work, plan, run
from slmops.core.store import Store

CHOICES = {"threads": 2}
_INPUTS = {"a": {}, "b": {"left": "a"}, "c": {"right": "a"}, "d": {"one": "b", "two": "c"}}


def chain(pause_s: float = 0.0, **sections: Any) -> list[Stage]:
    """The stages; each writes its section and what its inputs wrote. A section that is a mapping with `says` writes
    only that, so that two different sections can have one content."""
    return [_stage(name, inputs, sections.get(name, name.upper()), pause_s) for name, inputs in _INPUTS.items()]


def run_all(
    folder: Path, stages: list[Stage] | None = None, choices: Mapping[str, Any] = CHOICES, /, **asked: str
) -> list[Made]:
    """Plans and runs; returns what was made."""
    return list(run_each(folder, stages, choices, **asked))


def run_each(
    folder: Path, stages: list[Stage] | None = None, choices: Mapping[str, Any] = CHOICES, /, **asked: str
) -> Iterator[Made]:
    planned = plan_all(folder, stages, choices, **asked)
    yield from run(planned, Store(folder / "store"), folder, "demo", choices, seed=1)


def plan_all(
    folder: Path, stages: list[Stage] | None = None, choices: Mapping[str, Any] = CHOICES, /, **asked: str
) -> list[Planned]:
    return plan(stages or chain(), Store(folder / "store"), folder, "demo", choices, **asked)


def ids(made: list[Made]) -> dict[str, str]:
    return {one.stage.name: one.manifest.id for one in made}


def ran(made: list[Made]) -> list[str]:
    return [one.stage.name for one in made if one.ran]


def _stage(name: str, inputs: Mapping[str, str], section: Any, pause_s: float) -> Stage:
    says = section["says"] if isinstance(section, dict) else section

    def make(work: Work) -> None:
        (work.scratch / "touched").write_text("by a run that may be killed")
        for number in range(3):
            text = says + str(number) + "".join((work.inputs[role] / "0.txt").read_text() for role in sorted(inputs))
            (work.out / f"{number}.txt").write_text(text)
            time.sleep(pause_s)
        work.measure("seconds", "s", time.time())

    return Stage(name, 1, inputs, section, make, Estimate(5.0, 7.0), ("threads",) if name == "c" else ())


if __name__ == "__main__":
    for one in run_each(Path(sys.argv[1]), chain(float(sys.argv[2]))):
        print(one.stage.name, flush=True)
