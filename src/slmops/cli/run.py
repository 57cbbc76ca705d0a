"""Commands that make a project, or say what would be made: run, plan, status, train, distill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slmops.cli.options import CONFIG, AsJson, Config, Force, Variant, load

if TYPE_CHECKING:
    from slmops.core.pipeline import Planned
    from slmops.stages.project import Command, Project
    from slmops.stages.run import Outcome

From = Annotated[str | None, typer.Option("--from", metavar="STAGE", help="Run this stage and all after it again.")]
Here = Annotated[bool, typer.Option("--here", help="On this machine, even where engine says azureml.")]
Only = Annotated[str | None, typer.Option("--only", metavar="STAGE", help="Run nothing but this stage.")]


def run(
    config: Config = CONFIG,
    variant: Variant = None,
    first: From = None,
    only: Only = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, or write Azure ML's job, and run nothing.")
    ] = False,
    force: Force = False,
    here: Here = False,
    as_json: AsJson = False,
) -> None:
    """Make everything that slmops.yaml asks for; what is unchanged is not made again."""
    if dry_run and not here and (project := load(config, variant)).engine.type == "azureml":
        _refuse_parts(project, first, only, force)
        _show_job(project, as_json)
    elif dry_run:
        _show_plan(config, variant, first, only, as_json)
    else:
        _run("run", config, variant, as_json, here=here, first=first, only=only, force=force)


def plan(
    config: Config = CONFIG, variant: Variant = None, first: From = None, only: Only = None, as_json: AsJson = False
) -> None:
    """Show what a run would do, with estimated minutes, disk and memory."""
    _show_plan(config, variant, first, only, as_json)


def status(config: Config = CONFIG, variant: Variant = None, as_json: AsJson = False) -> None:
    """Show which stages are made, when, and what of."""
    from slmops.core.console import print_json, print_table
    from slmops.stages.run import plan as plan_project

    planned = plan_project(load(config, variant))
    if as_json:
        print_json([_planned_json(item) for item in planned])
        return
    rows = []
    for item in planned:
        made = item.made
        rows.append(
            (
                item.stage.name,
                made.id[:12],
                made.made_by.started,
                f"{made.made_by.seconds:.0f} s",
                f"{made.size_bytes / 1e6:.1f} MB",
            )
            if made
            else (item.stage.name, "–", item.why, "", "")
        )
    print_table(("stage", "artifact", "made", "took", "size"), rows)


def train(
    config: Config = CONFIG,
    variant: Variant = None,
    force: Force = False,
    here: Here = False,
    as_json: AsJson = False,
) -> None:
    """Teach the teacher its task (or, without one, fine-tune the student)."""
    _run("train", config, variant, as_json, here=here, force=force)


def distill(
    config: Config = CONFIG,
    variant: Variant = None,
    force: Force = False,
    here: Here = False,
    as_json: AsJson = False,
) -> None:
    """Make the student, and whatever it needs."""
    _run("distill", config, variant, as_json, here=here, force=force)


def _run(
    command: Command,
    config: Path,
    variant: str | None,
    as_json: bool,
    *,
    here: bool,
    first: str | None = None,
    only: str | None = None,
    force: bool = False,
) -> None:
    from slmops.core.console import console, print_json, print_wrong, show_progress
    from slmops.stages.run import MissedGates
    from slmops.stages.run import run as run_project
    from slmops.training.tracking import say_resources

    project = load(config, variant)
    until = project.until(command)
    try:
        if there := project.engine.type == "azureml" and not here:
            _refuse_parts(project, first, only, force)
            from slmops.stages.on_azure import run_on_azure

            with show_progress() as progress:
                outcome = run_on_azure(project, command=command, progress=progress)
        else:
            with show_progress() as progress:
                outcome = run_project(project, first=first, only=only, until=until, force=force, progress=progress)
    except MissedGates as missed:
        if as_json:
            print_json(_outcome_json(project, missed.outcome, there))
        raise
    if not outcome.made:  # this process computed for another, which tells
        return
    if as_json:
        print_json(_outcome_json(project, outcome, there))
        return
    ran = [made for made in outcome.made if made.ran]
    console.print(
        f"made {', '.join(made.stage.name for made in ran)}"
        if ran
        else "nothing to do: everything is made as configured"
    )
    for made in ran:
        print_wrong(f"{made.stage.name}: {fault}" for fault in outcome.faults.get(made.stage.name, ()))
        if words := say_resources(made.manifest.measurements):
            console.print(f"{made.stage.name} {words}")
    for verdict in outcome.verdicts:
        console.print(f"gate passed · {verdict.sentence}")
    if there:
        _print_against_baseline(project, outcome)
    if until is None and only is None:
        from slmops.stages.report import write_report

        summary, path = write_report(project, again=bool(ran))
        print_headline(summary.to_json())
        console.print(f"report: {path}", soft_wrap=True)


def _refuse_parts(project: Project, first: str | None, only: str | None, force: bool) -> None:
    if first or only or force:
        why = "--from, --only and --force are for what runs on this machine, and Azure ML runs the whole"
        raise project.error("engine", why, "leave them out, or add --here")


def _print_against_baseline(project: Project, outcome: Outcome) -> None:
    """What Azure made beside the student before it learned."""
    from slmops.core.console import print_table
    from slmops.evaluation.figures import describe_figure, write_figure
    from slmops.stages.on_azure import against_baseline

    rows = []
    for name, ours, before in against_baseline(project, outcome):
        figure = describe_figure(name)
        rows.append((figure.label, write_figure(ours, figure.unit), write_figure(before, figure.unit)))
    if rows:
        print_table(("as its evidence says", project.shipped(), "before it learned"), rows)


def print_headline(summary: dict[str, object]) -> None:
    from slmops.core.console import console

    for name in ("quality_kept", "latency_reduction", "model_bytes_reduction", "memory_reduction"):
        figure = summary.get(name)
        if isinstance(figure, dict):
            shown = f"{summary['quality']}_kept" if name == "quality_kept" else name
            console.print(f"{shown:22} {figure['value']:7.1%}   ({figure['low']:.1%} … {figure['high']:.1%})")


def _show_job(project: Project, as_json: bool) -> None:
    """The job that Azure ML would get, written and held against its schema."""
    from slmops.core.console import console, print_json
    from slmops.core.files import lock
    from slmops.stages.azure_job import write_job

    with lock(project.state / "azureml" / "lock"):  # whoever submits one is not disturbed
        job = write_job(project)
    if as_json:
        print_json(job)
        return
    console.print(job.file.read_text("utf-8"), soft_wrap=True)
    console.print(f"sent with it: {', '.join(job.sent)}", soft_wrap=True)
    console.print(f"az ml job create --file {job.file}", soft_wrap=True)


def _show_plan(config: Path, variant: str | None, first: str | None, only: str | None, as_json: bool) -> None:
    from slmops.core.console import console, print_json, print_table, print_wrong
    from slmops.stages.base_models import unfetched
    from slmops.stages.run import plan as plan_project

    project = load(config, variant)
    planned = plan_project(project, first=first, only=only)
    if as_json:
        print_json([_planned_json(item) for item in planned])
        return
    rows = [
        (
            item.stage.name,
            "run" if item.runs else "keep",
            item.why,
            f"{item.estimate.minutes:.1f}" if item.runs else "",
            f"{item.estimate.megabytes:.0f}",
            f"{item.estimate.memory_mb:.0f}" if item.runs and item.estimate.memory_mb else "",
        )
        for item in planned
    ]
    print_table(("stage", "", "why", "minutes", "MB", "MB of memory"), rows)
    running = [item.estimate for item in planned if item.runs]
    for model in unfetched(project) if running else ():
        print_wrong([f"{model} was never fetched: what it takes is told as if it were SmolLM2-135M"])
    minutes, megabytes = sum(e.minutes for e in running), sum(e.megabytes for e in running)
    memory = max((e.memory_mb or 0.0 for e in running), default=0.0)
    needs = f", {memory:.0f} MB of memory" if memory else ""
    console.print(f"about {minutes:.0f} minutes and {megabytes:.0f} MB{needs}" if running else "nothing to do")


def _planned_json(item: Planned) -> dict[str, object]:
    return {
        "stage": item.stage.name,
        "runs": item.runs,
        "why": item.why,
        "artifact": item.made.id if item.made else None,
        "minutes": round(item.estimate.minutes, 2) if item.runs else 0.0,
        "megabytes": round(item.estimate.megabytes, 1),
        "memory_mb": round(item.estimate.memory_mb, 1) if item.runs and item.estimate.memory_mb else None,
    }


def _outcome_json(project: Project, outcome: Outcome, there: bool) -> dict[str, object]:
    told: dict[str, object] = {
        "made": [
            {
                "stage": made.stage.name,
                "artifact": made.manifest.id,
                "ran": made.ran,
                "seconds": made.manifest.made_by.seconds,
            }
            for made in outcome.made
        ],
        "faults": outcome.faults,
        "gates": [{"name": v.gate.name, "passed": v.passed, "sentence": v.sentence} for v in outcome.verdicts],
    }
    if there:
        from slmops.stages.on_azure import against_baseline

        told["against_baseline"] = {
            name: {"shipped": ours, "before": before} for name, ours, before in against_baseline(project, outcome)
        }
    return told
