"""Commands on a project: init, new, advise, report, prove, verdict, search …, beside those that make it (run.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from slmops.cli.options import CONFIG, AsJson, Config, Variant, load
from slmops.cli.run import distill, plan, print_headline, run, status, train


def register(app: typer.Typer) -> None:
    of_a_run = (init, new, advise, run, plan, status, report, prove, verdict, ledger, search)
    for command in (*of_a_run, train, distill, schema, doctor):
        app.command()(command)


def init(
    folder: Annotated[Path, typer.Argument(help="Where the project begins.")] = Path(),
    name: Annotated[str | None, typer.Option(help="The project's name; the folder's unless given.")] = None,
    job: Annotated[
        Path | None, typer.Option("--job", metavar="FILE", help="A distillation job as guides to Azure ML write it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a slmops.yaml to fill in, or what a job of Azure ML's guides asks for."""
    from slmops.core.console import console, print_json
    from slmops.stages.start import init as start

    path, left = start(folder, name, job)
    if as_json:
        print_json({"config": path, "left": left})
        return
    console.print(f"wrote {path}; put your data beside it, then: slmops plan, slmops run")
    for note in left:
        console.print(note, soft_wrap=True)


def new(
    kind: Annotated[
        Literal["loss", "metric", "callback", "task", "variation"], typer.Argument(help="What it is to be.")
    ],
    name: Annotated[str, typer.Argument(help="Its name in Python; the file is called so, too.")],
    config: Config = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write a file to begin code of your own from, beside slmops.yaml."""
    from slmops.core.console import console, print_json
    from slmops.stages.templates import new_file

    path, line = new_file(kind, name, config.parent)
    if as_json:
        print_json({"file": path, "config": line})
    else:
        console.print(f"wrote {path}; in slmops.yaml: {line}", soft_wrap=True)


def advise(config: Config = CONFIG, variant: Variant = None, as_json: AsJson = False) -> None:
    """Say in words how to learn this task: which method, how long, what the data lack, each with its reason."""
    from slmops.core.console import console, print_json
    from slmops.stages.advise import advise as advise_on

    found = advise_on(load(config, variant))
    if as_json:
        print_json(found)
        return
    for advice in found:
        console.print(f"{advice.what}: {advice.why}", soft_wrap=True)
        if advice.line:
            console.print(f"    {advice.line}", soft_wrap=True)


def report(
    config: Config = CONFIG,
    variant: Variant = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write the page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the HTML report of what was measured."""
    from slmops.core.console import console, print_json
    from slmops.stages.report import write_report

    summary, path = write_report(load(config, variant), out)
    if as_json:
        print_json(summary.to_json() | {"page": str(path)})
        return
    print_headline(summary.to_json())
    console.print(f"report: {path}", soft_wrap=True)


def prove(config: Config = CONFIG, variant: Variant = None, as_json: AsJson = False) -> None:
    """Hold every stage of the export against the one before it, on the same probes, and name what breaks."""
    from slmops.core.console import console, print_json, print_table, show_progress
    from slmops.stages.prove import prove as prove_project

    with show_progress() as progress:
        links = prove_project(load(config, variant), progress)
    broken = [link for link in links if not link.holds]
    if as_json:
        print_json({"holds": not broken, "links": links})
    else:
        rows = [(link.stage, link.compared, "holds" if link.holds else "BROKEN") for link in links]
        print_table(("stage", "what was compared", ""), rows)
        for link in broken:
            console.print(f"{link.stage} · {link.compared}: {link.broken} — {link.remedy}", soft_wrap=True)
    if broken:
        raise typer.Exit(1)


def verdict(config: Config = CONFIG, variant: Variant = None, as_json: AsJson = False) -> None:
    """Find out whether the teacher helped: train the same student several times without it, and on its answers."""
    from slmops.core.console import console, print_json, print_table, show_progress
    from slmops.stages.verdict import judge

    project = load(config, variant)
    with show_progress() as progress:
        found = judge(project, progress)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    seeds = max(map(len, found.figures.values()))
    rows = [
        (arm, *(f"{value:.1%}" for value in values), *[""] * (seeds - len(values)))
        for arm, values in found.figures.items()
    ]
    print_table((f"{found.metric}, {found.steps:,} steps each", *(f"seed {n}" for n in range(1, seeds + 1))), rows)
    for one in found.against:
        console.print(str(one), soft_wrap=True)


def ledger(config: Config = CONFIG, variant: Variant = None, as_json: AsJson = False) -> None:
    """Find out where points were lost: train the student with nothing cut, and with all tokens, too."""
    from slmops.core.console import print_json, print_table, show_progress
    from slmops.evaluation.figures import describe_figure, write, write_difference
    from slmops.stages.ledger import account

    project = load(config, variant)
    with show_progress() as progress:
        found = account(project, progress)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    unit = describe_figure(found.metric).unit
    rows = [
        (step.after, write(step.figure, unit), *(write_difference(step.difference, unit) if step.difference else ()))
        for step in found.steps
    ]
    print_table(("after which step", found.metric, "change", "95 % interval"), rows)


def search(config: Config = CONFIG, variant: Variant = None, as_json: AsJson = False) -> None:
    """Try other settings of distillation and student, as the section search says, each in a student of its own."""
    from slmops.core.console import console, print_json, print_table, show_progress
    from slmops.stages.search import as_yaml
    from slmops.stages.search import search as search_for

    project = load(config, variant)
    with show_progress() as progress:
        found = search_for(project, progress)
    if as_json:
        print_json(found.to_json() | {"values": found.best.values})
        return
    keys = list(project.search.search_space) if project.search else []
    rows = [
        (trial.number + 1, *(_short(trial.values.get(key)) for key in keys), _short(trial.score), trial.reason)
        for trial in sorted(found.trials, key=lambda trial: (trial.score is None, trial.score))
    ]
    print_table(("trial", *keys, "validation loss", ""), rows)
    console.print("the best, as slmops.yaml takes it:")
    console.print(as_yaml(found.best.values), highlight=False, soft_wrap=True)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def schema(as_json: AsJson = False) -> None:
    """Print the JSON schema of slmops.yaml, for editors."""
    from slmops.core.console import print_json
    from slmops.stages.project import json_schema

    print_json(json_schema())


def doctor(as_json: AsJson = False) -> None:
    """Look at versions and hardware, say what is missing and what mends it."""
    from slmops.core.console import print_json, print_table
    from slmops.stages.doctor import doctor as look

    findings = look(Path())
    if as_json:
        print_json(findings)
    else:
        rows = [("ok" if f.well else "NO", f.what, f.says, "" if f.well else f.remedy) for f in findings]
        print_table(("", "what", "found", "remedy"), rows)
    if not all(finding.well for finding in findings):
        raise typer.Exit(1)
