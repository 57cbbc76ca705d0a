"""A search over a project: keys of distillation, student and synthesis are tried, each trial a student of its own,
judged on validation rows.

What trials have in common (the teacher, its answers) is made once. A trial is judged by what its gold answers cost on
the validation rows, so that trials with other losses can be compared. A search that was killed goes on with the trial
it was at. What is found is told, and left for the user to write down.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from slmops.core.artifact import hash_json
from slmops.core.config import nested
from slmops.core.errors import SlmopsError
from slmops.core.files import lock, write_whole
from slmops.core.measurement import ArtifactId
from slmops.core.named import code_of
from slmops.core.search import Found, Tell, Trials, Values, begin_of, say_values
from slmops.core.search import search as try_out
from slmops.core.store import Store
from slmops.stages.base_models import fetch_models, identity_of, references_of
from slmops.stages.before import Progress, check_before
from slmops.stages.fits import check_adapted, check_base_models
from slmops.stages.learning import CURVE_FILE
from slmops.stages.project import Project
from slmops.stages.run import open_store, plan
from slmops.stages.seeded import make_seeded, name_for
from slmops.stages.trials import score_of
from slmops.training.curve import read_curve

FILE = "search.json"
_WHAT = "search"
_TOGETHER = {"student.heads", "student.kv_heads", "student.width"}  # which may fit only with one another's values


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
    check_before(project, plan(project, until="student"), progress)
    together = _TOGETHER & asked.search_space.keys()
    for key, space in asked.search_space.items():
        for value in space.ends() if key not in together or len(together) == 1 else ():
            check_base_models(tried := project.tried_out({key: value}))
            check_adapted(tried)
    store = open_store(project)
    with lock(project.state / "lock"), store.in_use():
        return _search(project, asked, store, progress)


def read_found(project: Project, dataset: ArtifactId) -> dict[str, Any] | None:
    """What the last search has found, if it was one of this project as it is now, of this data."""
    path = project.state / FILE
    if project.search is None or not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found if found.pop("asked") == _asked(project, dataset) else None


def as_yaml(values: Values) -> str:
    """Values by dotted key, as slmops.yaml takes them: a line a section."""
    return "\n".join(f"{name}: {json.dumps(part)}" for name, part in nested(values).items())


def begins_at(project: Project) -> dict[str, Any]:
    """What is searched for, as it stands in the project, where that lies in the space."""

    def tried(key: str, value: Any) -> Any:
        return _value_at(project.tried_out({key: value}), key)

    return begin_of(project.search.search_space if project.search else {}, partial(_value_at, project), tried)


def _search(project: Project, asked: Trials, store: Store, progress: Progress) -> Found:
    def make(tried: Project, until: str, told: str) -> ArtifactId:
        fetch_models(tried, progress)
        return make_seeded(tried, until, store, tried.seed, what=_WHAT, told=told, progress=progress)

    def judge(number: int, values: Values, tell: Tell) -> float:
        tried = project.tried_out(values)
        made = make(tried, "student", f"trial {number + 1}/{asked.num_trials} ({say_values(values)})")
        return score_of(list(read_curve(store.open(made) / CURVE_FILE)), tried.student.train)

    def mark(number: int) -> list[int]:
        saved = (path.stat().st_mtime_ns for path in folder.rglob("checkpoint/state.json"))
        return [len(store.entries()), *sorted(saved)]

    folder = project.state / _WHAT
    make(project, "labels" if project.teacher else "dataset", "what all share")  # what fails here is no trial's fault
    identity = _asked(project, store.manifest(f"{name_for(project, _WHAT)}/dataset@latest").id)
    study = folder / identity[:16]
    found = try_out(asked, judge, default=begins_at(project), seed=project.seed, folder=study, mark=mark)
    write_whole(project.state / FILE, json.dumps(found.to_json() | {"asked": identity}, indent=1))
    return found


def _asked(project: Project, dataset: ArtifactId) -> str:
    """What decides what trials come to: the project, its data, models and code; more trials are the same search."""
    written = project.model_dump(mode="json", by_alias=True, exclude={"search": {"num_trials"}})
    models = [identity_of(project, reference) for _, reference in references_of(project)]
    return hash_json([written, dataset, models, [code_of(name, "search") for name in project.own_code()]])


def _value_at(project: Project, key: str) -> Any:
    found: Any = project.model_dump(mode="json", by_alias=True)
    for step in key.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found
