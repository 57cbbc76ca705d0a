"""A search over a project: keys of any section are tried, each trial a student of its own, judged on validation rows.

What trials have in common (the teacher, its answers) is made once. A trial is judged by what its gold answers cost on
the validation rows, so that trials with other losses can be compared. A search that was killed goes on with the trial
it was at. What is found is told, and left for the user to write down.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from slmops.core.errors import SlmopsError
from slmops.core.files import lock, write_whole
from slmops.core.search import Choice, Found, Tell, Trials, Values, say_values
from slmops.core.search import search as try_out
from slmops.core.store import Store
from slmops.stages.learning import CURVE_FILE
from slmops.stages.project import Project
from slmops.stages.run import Progress, fetch_models, open_store
from slmops.stages.seeded import make_seeded
from slmops.training.curve import held_out_losses, read_curve

FILE = "search.json"


def search(project: Project, progress: Progress = lambda stage, share, note: None) -> Found:
    """Makes `search.num_trials` students; the first one is the project's own, where that lies in the space.

    Raises:
        SlmopsError: nothing is to be searched for, or every trial has failed.
        BusyError: a run works in this project.
    """
    asked = project.search
    if asked is None:
        raise SlmopsError("nothing is to be searched for", where=str(project.path), remedy="add search: …")
    fetch_models(project, progress)
    store = open_store(project)
    with lock(project.state / "lock"), store.in_use():
        return _search(project, asked, store, progress)


def read_found(project: Project) -> dict[str, Any] | None:
    """What the last search has found, if it was one for what is asked now."""
    path = project.state / FILE
    if project.search is None or not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found if found.pop("asked") == project.search.model_dump(mode="json") else None


def _search(project: Project, asked: Trials, store: Store, progress: Progress) -> Found:
    folder = project.state / "search"

    def judge(number: int, values: Values, tell: Tell) -> float:
        told = f"trial {number + 1}/{asked.num_trials} ({say_values(values)})"

        def report(stage: str, share: float, note: str) -> None:
            progress(f"{told}: {stage}", share, note)

        name = f"{project.name}-search"
        tried = project.tried_out(values)
        made = make_seeded(tried, "student", store, project.seed, name=name, folder=folder, progress=report)
        losses = held_out_losses(list(read_curve(store.open(made) / CURVE_FILE)))
        if not losses:
            raise SlmopsError("there are no validation rows to judge a trial by", remedy="give data.validation")
        return min(losses) if tried.student.train.keeps_best else losses[-1]

    found = try_out(asked, judge, default=begin_of(project), seed=project.seed, folder=folder)
    told = {"trials": [asdict(trial) for trial in found.trials], "importance": found.importance}
    whole = told | {"best": found.best.number, "asked": asked.model_dump(mode="json")}
    write_whole(project.state / FILE, json.dumps(whole, indent=1))
    return found


def begin_of(project: Project) -> dict[str, Any]:
    """What is searched for, as it stands in the project, where that lies in the space."""
    written, found = project.model_dump(mode="json", by_alias=True), {}
    for key, space in project.search.search_space.items() if project.search else ():
        own: Any = written
        for step in key.split("."):
            own = own.get(step) if isinstance(own, Mapping) else None
        ends = space.ends()
        if isinstance(space, Choice):
            same = [value for value in ends if value == own]
        else:
            is_number = isinstance(own, int | float) and not isinstance(own, bool)
            same = [own] if is_number and ends[0] <= own <= ends[1] else []
        if same:
            found[key] = same[0]
    return found
