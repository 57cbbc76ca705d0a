"""Runs a project: fetches base models, plans, makes what is missing, checks the gates before anything is published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slmops.core import gates, machine, pipeline
from slmops.core.artifact import Manifest, hash_json
from slmops.core.config import MAIN
from slmops.core.errors import GateError, need
from slmops.core.files import lock, write_whole
from slmops.core.pipeline import Made, Planned
from slmops.core.store import Store
from slmops.evaluation.figures import FIGURES
from slmops.stages.assemble import assemble
from slmops.stages.base_models import fetch_models
from slmops.stages.before import Progress, check_before
from slmops.stages.context import check_labels_are_spelled, check_test_fits
from slmops.stages.diagnosis import DIAGNOSIS_FILE, read_diagnosis
from slmops.stages.engine import dismiss, follow, follows, lead
from slmops.stages.evidence import gate_figures
from slmops.stages.fits import check_base_models
from slmops.stages.parts import read_task
from slmops.stages.project import CHOICES_FILE, Project
from slmops.tasks import metrics_of
from slmops.tasks.types import Labels
from slmops.training.diagnosis import Fault


@dataclass(frozen=True)
class Outcome:
    """What a run made, the gates' verdicts, and what is wrong with the trainings of which stage; nothing of these in a
    process that follows another that runs."""

    made: tuple[Made, ...] = ()
    verdicts: tuple[gates.Verdict, ...] = ()
    faults: Mapping[str, Sequence[Fault]] = field(default_factory=dict)


class MissedGates(GateError):
    """A figure fell short: nothing is published. `outcome` is what was made, and every verdict."""

    def __init__(self, outcome: Outcome, where: str) -> None:
        failed = [verdict.sentence for verdict in outcome.verdicts if not verdict.passed]
        super().__init__("; ".join(failed), where=where, remedy="slmops report")
        self.outcome = outcome


def plan(
    project: Project, *, first: str | None = None, only: str | None = None, until: str | None = None
) -> list[Planned]:
    """What `run` would do; fetches and makes nothing but the choices probed from the machine.

    Raises:
        SlmopsError: the base models, where they are here, have not what the student asks for.
    """
    frozen = choices(project)  # first, since estimates are by the speed that was probed
    planned = pipeline.plan(
        assemble(project), open_store(project), project.state, project.name, frozen, first=first, only=only, until=until
    )
    if {"pruned", "student"} & {item.stage.name for item in planned if item.runs}:
        check_base_models(project)
    return planned


def run(
    project: Project,
    *,
    first: str | None = None,
    only: str | None = None,
    until: str | None = None,
    force: bool = False,
    progress: Progress = lambda stage, share, note: None,
) -> Outcome:
    """Runs what is not yet made; with `force` even what an estimate says there is no room for.

    Raises:
        MissedGates: a figure fell short; whatever comes after evidence is not made.
        BusyError: another run works in this project.
    """
    if follows():
        follow()
        return Outcome()
    lead()
    with open_store(project).in_use():  # what the plan finds must stay
        made, verdicts = _run(project, first, only, until, force, progress)
    dismiss()
    return _outcome(project, made, verdicts)


def _run(
    project: Project, first: str | None, only: str | None, until: str | None, force: bool, progress: Progress
) -> tuple[list[Made], list[gates.Verdict]]:
    """The artifacts, in their order, and what the gates said."""
    planned = plan(project, first=first, only=only, until=until)
    runs = any(item.runs for item in planned)
    with lock(project.state / "lock"):  # a second run is told so at once, not when this one has fetched its models
        is_new = runs and fetch_models(project, progress)
    if is_new:
        planned = plan(project, first=first, only=only, until=until)
    check_before(project, planned, progress)
    tests = any(item.stage.name == "evidence" and item.runs for item in planned)
    made: list[Made] = []
    verdicts: list[gates.Verdict] = []
    if only == "bundle":  # evidence will not come by
        evidence = next(item.parents["evidence"] for item in planned if item.parents)
        verdicts = _pass_gates(project, open_store(project).manifest(evidence), made)
    steps = pipeline.run(
        planned,
        open_store(project),
        project.state,
        project.name,
        choices(project),
        seed=project.seed,
        aliases=(project.variant or MAIN, *_where(project)),
        force=force,
        progress=progress,
    )
    with closing(steps):
        for step in steps:
            made.append(step)
            if step.stage.name == "dataset" and runs:
                dataset = open_store(project).open(step.manifest.id)
                _check_gated_figures(project, dataset)
                check_labels_are_spelled(project, dataset)
                if tests:
                    check_test_fits(project, dataset)
            if step.stage.name == "evidence":
                verdicts = _pass_gates(project, step.manifest, made)
    return made, verdicts


def _where(project: Project) -> tuple[str, ...]:
    """In a store that several projects share, what this one has last made keeps a name that another one, called the
    same, does not take over."""
    return () if project.store_root == project.state / "store" else (f"at-{hash_json(str(project.state))[:8]}",)


def _check_gated_figures(project: Project, dataset: Path) -> None:
    """That the task measures what gates ask for: told before anything is learned, not after.

    Raises:
        ConfigError: it does not.
    """
    task = read_task(dataset)
    measured = {metric.name for metric in metrics_of(task, project.evaluation.metrics)}
    if isinstance(task.grammar, Labels):
        measured.add("calibration_error")
    lacking = {name for name, figure in FIGURES.items() if figure.group == "Quality"} - measured
    for gate in gates.parse_gates(project.gates.asked()):
        if gate.name.partition("_")[2] in lacking:  # behind keep, min or max
            told = f"{project.task.type} does not measure it"
            raise project.error(f"gates.{gate.name}", told, f"measured are: {', '.join(sorted(measured))}")


def check_gates(project: Project, evidence: Manifest) -> list[gates.Verdict]:
    """The verdict of every gate on what `evidence` measured."""
    figures = gate_figures(figures_of(evidence), project.shipped())
    return gates.check(gates.parse_gates(project.gates.asked()), figures)


def figures_of(evidence: Manifest) -> dict[tuple[str, str, str], Any]:
    """(subject, figure, measured against whom or "") → interval."""
    return {
        (measured.subject, measured.name, str(measured.conditions.get("against", ""))): measured.value
        for measured in evidence.measurements
    }


def open_store(project: Project) -> Store:
    return Store(project.store_root)


def choices(project: Project) -> Mapping[str, Any]:
    """What was probed from the machine when the project was first planned; frozen, so that a resumed or repeated run
    makes the same."""
    return frozen_choices(project.state)


def frozen_choices(folder: Path) -> Mapping[str, Any]:
    """What stands in the folder of what was probed; probed now where nothing does."""
    path = folder / CHOICES_FILE
    if path.is_file():
        frozen: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return frozen
    need("torch", "train")
    threads = machine.default_threads()
    number_format, gflops = machine.probe_number_format(threads)
    folder.mkdir(parents=True, exist_ok=True)
    probed = {"number_format": number_format, "threads": threads, "gflops": gflops}
    write_whole(path, json.dumps(probed, indent=2) + "\n")
    return probed


def _pass_gates(project: Project, evidence: Manifest, made: Sequence[Made]) -> list[gates.Verdict]:
    """The verdicts, if all are good; else MissedGates."""
    verdicts = check_gates(project, evidence)
    if not all(verdict.passed for verdict in verdicts):
        raise MissedGates(_outcome(project, made, verdicts), f"{project.path.name} · gates")
    return verdicts


def _outcome(project: Project, made: Sequence[Made], verdicts: Sequence[gates.Verdict]) -> Outcome:
    store = open_store(project)
    trained = [step for step in made if DIAGNOSIS_FILE in step.manifest.files]
    faults = {step.stage.name: read_diagnosis(store.open(step.manifest.id)) for step in trained}
    return Outcome(tuple(made), tuple(verdicts), faults)
