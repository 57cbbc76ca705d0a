"""`bundle`: the shipped model as a Foundry Local folder, asked through Foundry Local before it counts as made."""

from __future__ import annotations

from slmops.core.pipeline import Estimate, Stage, Work
from slmops.core.statistics import bootstrap, percentile_interval
from slmops.deployment.foundry_folder import write_folder
from slmops.deployment.foundry_local import ask
from slmops.evaluation.compare import parse_all, quality_figures
from slmops.runtimes.local import LocalModel
from slmops.runtimes.types import Sampling
from slmops.stages.parts import read_part, read_task
from slmops.stages.project import Project


def bundle_stage(project: Project) -> Stage:
    shipped, deployment = project.shipped(), project.deployment[0]
    return Stage(
        "bundle",
        2,
        {"dataset": "dataset", "model": shipped, "evidence": "evidence"},
        {"deployment": deployment.model_dump(), "name": project.name},
        lambda work: _make(project, work),
        Estimate(0.4, 40),
        ("threads",),
    )


def _make(project: Project, work: Work) -> None:
    deployment = project.deployment[0]
    work.licence = work.parent_licences["model"]
    write_folder(work.inputs["model"], work.out, name=deployment.name or project.name, version=deployment.version)
    task, test = read_task(work.inputs["dataset"]), read_part(work.inputs["dataset"], "test")
    asked = [task.short_messages(record) for record in test]
    if project.student.prompt == "full":
        asked = [task.messages(record) for record in test]
    work.progress(0.1, f"asking Foundry Local {len(asked)} messages")
    run = ask(work.out, asked, max_tokens=task.max_tokens)
    own = LocalModel(work.out, threads=work.choices["threads"])
    free = [own.ask(messages, sampling=Sampling(task.max_tokens)).text for messages in asked]
    said = [answer.text for answer in run.answers]
    answers = parse_all(task, said)
    for figure, value in quality_figures(task, answers, [record.gold for record in test], work.seed).items():
        work.measure(figure, "share", value, subject="foundry-local")
    same = [[float(a.strip() == b.strip())] for a, b in zip(said, free, strict=True)]
    work.measure(
        "same_as_artifact",
        "share",
        bootstrap(same, lambda sums: sums[..., 0] / len(same), seed=work.seed),
        "foundry-local",
    )
    latency = percentile_interval([answer.latency_ms for answer in run.answers], 50, seed=work.seed)
    work.measure("latency_ms", "ms", latency, subject="foundry-local")
    work.measure("load_ms", "ms", run.load_ms, subject="foundry-local")
