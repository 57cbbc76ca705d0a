"""Plans and runs stages: what is unchanged is not run again, what was killed goes on.

In come stages, a store and the choices frozen for this project; out go artifacts. A stage's key is the hash of its
inputs' ids, its piece of the config, its code version and the choices it uses. Knows no language model.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slmops.core.artifact import Manifest, Run, hash_json
from slmops.core.changes import describe_changes
from slmops.core.errors import SlmopsError, StoreError
from slmops.core.files import full_disk_explained, lock, write_whole
from slmops.core.index import LATEST
from slmops.core.machine import describe_machine, describe_versions
from slmops.core.measurement import ArtifactId, Interval, Measurement
from slmops.core.store import Store

Progress = Callable[[float, str], None]  # share done (0…1), a short note
_AGAIN = ("asked for", "follows")  # why a stage runs though what it made is there
_BEGUN = "never made; since it was begun"
_WORK = "work"


@dataclass(frozen=True)
class Estimate:
    """What a stage will take, roughly: time, disk, and memory at its peak, where it is told."""

    minutes: float
    megabytes: float
    memory_mb: float | None = None


@dataclass
class Work:
    """What a stage gets: verified folders of its inputs, where to write, what is frozen, whom to tell."""

    inputs: Mapping[str, Path]
    parent_licences: Mapping[str, str]
    out: Path
    scratch: Path
    seed: int
    choices: Mapping[str, Any]
    progress: Progress
    force: bool = False  # go on where an estimate says that there is no room
    measurements: list[Measurement] = field(default_factory=list)
    licence: str = ""
    base_models: dict[str, str] = field(default_factory=dict)  # reference → where it came from

    def measure(self, name: str, unit: str, value: Interval | float, subject: str = "", **conditions: Any) -> None:
        """Notes a figure beside the artifact: never part of its id."""
        interval = value if isinstance(value, Interval) else Interval.exact(value)
        self.measurements.append(Measurement(name, unit, subject, interval, conditions))


@dataclass(frozen=True)
class Stage:
    """Makes one artifact, named by what it makes. `inputs` maps roles to stages; `section` is all of the config that
    decides the content; `version` grows when the code makes something else. `stored` are artifacts that it reads beside
    those that stages make, by role; their ids stand in `section`."""

    name: str
    version: int
    inputs: Mapping[str, str]
    section: Any
    make: Callable[[Work], None]
    estimate: Estimate
    choices: tuple[str, ...] = ()
    stored: Mapping[str, ArtifactId] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    """A stage with what is known before running: its parents' ids (None where an input is yet to be made), what was
    made of them before, and why it runs or not."""

    stage: Stage
    parents: Mapping[str, ArtifactId] | None
    made: Manifest | None
    why: str
    estimate: Estimate

    @property
    def runs(self) -> bool:
        return self.made is None


@dataclass(frozen=True)
class Made:
    """A stage's artifact, and whether this run made it."""

    stage: Stage
    manifest: Manifest
    ran: bool


def plan(
    stages: Sequence[Stage],
    store: Store,
    folder: Path,
    name: str,
    choices: Mapping[str, Any],
    *,
    first: str | None = None,
    only: str | None = None,
    until: str | None = None,
) -> list[Planned]:
    """What a run would do; `folder` is the project's `.slmops`, which knows what was asked before. `first`: run that
    stage and all that follow from it again; `only`: nothing but that one; `until`: that one and what it needs.

    Raises:
        SlmopsError: a stage that is named does not exist, or an input of `only` was never made.
    """
    for asked in (first, only, until):
        if asked is not None and asked not in {stage.name for stage in stages}:
            raise SlmopsError(
                f"there is no stage {asked!r}", remedy="choose one of " + ", ".join(stage.name for stage in stages)
            )
    planned: dict[str, Planned] = {}
    for stage in stages:
        planned[stage.name] = _plan_stage(stage, planned, store, folder, name, choices, first, only)
    if only:
        lacking = [role for role in planned[only].stage.inputs.values() if planned[role].made is None]
        if lacking:
            raise SlmopsError(f"{only} needs {', '.join(lacking)}, never made as configured", remedy="slmops run")
        return [planned[only]]
    needed = _ancestors(until, planned) if until else set(planned)
    return [item for item in planned.values() if item.stage.name in needed]


def run(
    planned: Sequence[Planned],
    store: Store,
    folder: Path,
    name: str,
    choices: Mapping[str, Any],
    *,
    seed: int,
    aliases: Sequence[str] = (),
    force: bool = False,
    progress: Callable[[str, float, str], None] = lambda stage, share, note: None,
) -> Generator[Made, None, None]:
    """Makes what is missing, stage by stage; yields each artifact as it stands in the store, where it is NAME/STAGE's
    `latest` from then on, and has its `aliases`, which runs of others leave alone.

    `folder` is the project's `.slmops`. A second run in it is refused (BusyError). Killed at any moment, the next run
    goes on: finished stages are in the store, an unfinished one finds its scratch folder again.
    """
    with lock(folder / "lock"), store.in_use():
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        made: dict[str, Manifest] = {}
        for item in planned:
            stage = item.stage
            parents = item.parents or {role: made[source].id for role, source in stage.inputs.items()}
            key = stage_key(stage, parents, choices)
            (folder / "asked").mkdir(exist_ok=True)
            write_whole(_file_of_asked(folder, stage), _asked(stage, parents, choices))
            manifest = item.made or (None if item.why in _AGAIN else store.find(key))
            ran = manifest is None
            place = folder / _WORK / f"{stage.name}-{key[:12]}"
            if manifest is None:
                progress(stage.name, 0.0, f"warning: {item.why}" if item.why.startswith(_BEGUN) else item.why)
                manifest = _make(stage, key, parents, store, place, name, choices, seed, force, run_id, progress)
            for called in (LATEST, *aliases):
                _call(store, f"{name}/{stage.name}", called, manifest.id)
            shutil.rmtree(place, ignore_errors=True)
            if ran:
                (folder / "made").mkdir(exist_ok=True)
                write_whole(_file_of_made(folder, stage), json.dumps([manifest.id, _own(stage, choices)], default=str))
            made[stage.name] = manifest
            yield Made(stage, manifest, ran)


def unfinished(folder: Path) -> list[Path]:
    """What killed runs had begun in `folder`, the project's `.slmops`, and in the folders that verdicts and searches
    have in it: the same command would go on there."""
    return sorted([*folder.glob(f"{_WORK}/*"), *folder.glob(f"*/{_WORK}/*")])


def drop_unfinished(folder: Path) -> None:
    """Deletes it.

    Raises:
        BusyError: a run works there.
    """
    with lock(folder / "lock"):
        for place in unfinished(folder):
            shutil.rmtree(place, ignore_errors=True)


def stage_key(stage: Stage, parents: Mapping[str, ArtifactId], choices: Mapping[str, Any]) -> str:
    """The hash of everything that decides what the stage makes."""
    return hash_json([stage.name, stage.version, dict(parents), stage.section, _used(stage, choices)])


def _used(stage: Stage, choices: Mapping[str, Any]) -> dict[str, Any]:
    return {choice: choices.get(choice) for choice in stage.choices}


def _why(
    stage: Stage, parents: Mapping[str, ArtifactId], choices: Mapping[str, Any], folder: Path, *, made: bool
) -> str:
    """Why a stage runs that was never made so: what is asked of it now, and was not when it last was, or was begun."""
    file = _file_of_asked(folder, stage)
    now = json.loads(_asked(stage, parents, choices))
    changed = describe_changes(json.loads(file.read_text("utf-8")), now) if file.is_file() else ""
    if made:
        return changed or "config or input changed"
    return f"{_BEGUN}: {changed}" if changed else "never made"


def _estimate(stage: Stage, choices: Mapping[str, Any], store: Store, folder: Path) -> Estimate:
    """What it took when it was last made, if all that is asked of it now, but for its inputs, was asked then."""
    file = _file_of_made(folder, stage)
    made, asked = json.loads(file.read_text("utf-8")) if file.is_file() else ("", None)
    if asked != json.loads(json.dumps(_own(stage, choices), default=str)):
        return stage.estimate
    with suppress(StoreError):  # which was collected
        manifest = store.manifest(made)
        return Estimate(manifest.made_by.seconds / 60, manifest.size_bytes / 1e6, stage.estimate.memory_mb)
    return stage.estimate


def _asked(stage: Stage, parents: Mapping[str, ArtifactId], choices: Mapping[str, Any]) -> str:
    sources = {role: parent[:12] for role, parent in parents.items()}
    return json.dumps({"code": stage.version, **sources, **_own(stage, choices)}, indent=1, default=str)


def _own(stage: Stage, choices: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of the stage itself, whatever its inputs are."""
    section = stage.section if isinstance(stage.section, Mapping) else {"config": stage.section}
    return {**section, **_used(stage, choices)}


def _file_of_asked(folder: Path, stage: Stage) -> Path:
    return folder / "asked" / f"{stage.name}.json"


def _file_of_made(folder: Path, stage: Stage) -> Path:
    return folder / "made" / f"{stage.name}.json"


def _ancestors(stage: str, planned: Mapping[str, Planned]) -> set[str]:
    """The stage and all that it needs, directly or not."""
    return {stage}.union(*(_ancestors(source, planned) for source in planned[stage].stage.inputs.values()))


def _plan_stage(
    stage: Stage,
    planned: Mapping[str, Planned],
    store: Store,
    folder: Path,
    name: str,
    choices: Mapping[str, Any],
    first: str | None,
    only: str | None,
) -> Planned:
    sources = [planned[source] for source in stage.inputs.values()]
    before = _newest(store, name, stage.name)
    estimate = _estimate(stage, choices, store, folder)
    waiting = [source for source in sources if source.made is None]
    asked = stage.name in (first, only) or any(source.why in _AGAIN for source in sources)
    if waiting:
        why = "follows" if asked else "input changes" if before else "never made"
        return Planned(stage, None, None, why, estimate)
    parents = {role: planned[source].made.id for role, source in stage.inputs.items()}  # type: ignore[union-attr]
    key = stage_key(stage, parents, choices)
    if asked:
        return Planned(stage, parents, None, "asked for", estimate)
    found = store.find(key)
    if found is None:
        why = _why(stage, parents, choices, folder, made=before is not None)
        return Planned(stage, parents, None, why, estimate)
    return Planned(stage, parents, found, "unchanged", Estimate(0, found.size_bytes / 1e6))


def _make(
    stage: Stage,
    key: str,
    parents: Mapping[str, ArtifactId],
    store: Store,
    place: Path,
    name: str,
    choices: Mapping[str, Any],
    seed: int,
    force: bool,
    run_id: str,
    progress: Callable[[str, float, str], None],
) -> Manifest:
    out, scratch = place / "out", place / "scratch"
    if out.exists():
        shutil.rmtree(out)  # a killed run's half result
    out.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    started, clock = datetime.now(UTC), _Clock(place / "seconds.json")
    inputs = {role: store.open(parent) for role, parent in parents.items()}
    licences = {role: store.manifest(parent).licence for role, parent in parents.items()}

    def report(share: float, note: str) -> None:
        clock.keep()
        progress(stage.name, share, note)

    work = Work(inputs, licences, out, scratch, seed, choices, report, force)
    with full_disk_explained(place, int(stage.estimate.megabytes * 1e6), "move the project to a larger disk"):
        try:
            stage.make(work)
        except BaseException:
            clock.keep(after_s=0)
            raise
    made_by = Run(
        run_id,
        " ".join(["slmops", *sys.argv[1:]]),
        seed,
        describe_versions(),
        describe_machine() | {"choices": dict(choices)},
        started.isoformat(timespec="seconds"),
        round(clock.seconds, 2),
        work.base_models,
    )
    return store.commit(
        out,
        kind=stage.name,
        key=key,
        parents={**parents, **stage.stored},
        made_by=made_by,
        measurements=work.measurements,
        licence=work.licence,
        name=f"{name}/{stage.name}",
    )


class _Clock:
    """Counts the seconds of all runs that work on a stage, up to what a killed one last told."""

    def __init__(self, file: Path) -> None:
        self._file, self._begun = file, time.perf_counter()
        self._before: float = json.loads(file.read_text("utf-8")) if file.is_file() else 0.0
        self._kept = self.seconds

    @property
    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._begun

    def keep(self, after_s: float = 5) -> None:
        """Notes the time, if the last note is older than that."""
        if self.seconds - self._kept > after_s:
            self._kept = self.seconds
            write_whole(self._file, json.dumps(self._kept))


def _call(store: Store, name: str, alias: str, artifact: ArtifactId) -> None:
    """Points name@alias at the artifact, where a kill right after its commit or another config left it elsewhere."""
    with suppress(StoreError):  # nothing is called so yet
        if store.manifest(f"{name}@{alias}").id == artifact:
            return
    store.set_alias(name, alias, artifact)


def _newest(store: Store, name: str, stage: str) -> Manifest | None:
    entries = store.entries(name=f"{name}/{stage}")
    return store.manifest(entries[-1].id) if entries else None
