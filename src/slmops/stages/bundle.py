"""`bundle`: the shipped model as a Foundry Local folder, asked through Foundry Local before it counts as made."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from pathlib import Path

from slmops.core.pipeline import Estimate, Stage, Work
from slmops.core.statistics import bootstrap, percentile_interval
from slmops.deployment.foundry_folder import write_folder
from slmops.deployment.foundry_local import FoundryAnswer, ask
from slmops.evaluation.compare import parse_all, quality_figures
from slmops.models.folder import weight_files
from slmops.runtimes.local import LocalModel
from slmops.runtimes.probes import PROBES, Probe, read_probes
from slmops.runtimes.proof import Link, no_worse, read_chain, require, write_chain
from slmops.runtimes.rendering import check_asking, plain_probes
from slmops.runtimes.types import Sampling
from slmops.stages.converted import answer_scores
from slmops.stages.parts import read_part, read_task
from slmops.stages.project import Project
from slmops.tasks.types import Task, messages_for

_START_S, _SLOWEST_S = 600, 0.2  # for everything before the first token, and each token: what takes longer hangs
_TOLD = 20  # messages, after which it is told how many are done


def bundle_stage(project: Project) -> Stage:
    shipped, deployment = project.shipped(), project.deployment[0]
    return Stage(
        "bundle",
        4,
        {"dataset": "dataset", "model": shipped, "evidence": "evidence"},
        {"deployment": deployment.model_dump(), "name": project.name},
        lambda work: _make(project, work),
        Estimate(0.4, 40),
        ("threads",),
    )


def _make(project: Project, work: Work) -> None:
    deployment, before = project.deployment[0], work.inputs["model"]
    work.licence = work.parent_licences["model"]
    write_folder(before, work.out, name=deployment.name or project.name, version=deployment.version)
    task, test = read_task(work.inputs["dataset"]), read_part(work.inputs["dataset"], "test")
    probes = read_probes(before / PROBES)
    asked = [messages_for(task, project.student.prompt, record) for record in test]
    work.progress(0.1, f"asking Foundry Local {len(asked)} messages")
    all_asked = [*asked, *(probe.messages for probe in probes)]
    run = ask(
        work.out,
        all_asked,
        max_tokens=task.max_tokens,
        silence_s=_START_S + _SLOWEST_S * task.max_tokens,
        report=lambda done: work.progress(
            0.1 + 0.4 * done / len(all_asked), f"{done}/{len(all_asked)} by Foundry Local"
        ),
    )
    answered, of_probes = run.answers[: len(asked)], run.answers[len(asked) :]
    own = LocalModel(work.out, threads=work.choices["threads"])
    links = check_bundle("bundle", work.out, own, before, task, probes, of_probes)
    write_chain(work.out, [*read_chain(before), *links])
    require(links)
    free = []
    for messages in asked:
        free.append(own.ask(messages, sampling=Sampling(task.max_tokens)).text)
        if len(free) % _TOLD == 0:
            work.progress(0.5 + 0.5 * len(free) / len(asked), f"{len(free)}/{len(asked)} messages to its files")
    said = [answer.text for answer in answered]
    answers = parse_all(task, said)
    for figure, value in quality_figures(task, answers, [record.gold for record in test], work.seed).items():
        work.measure(figure, "share", value, subject="foundry-local")
    same = [[float(a.strip() == b.strip())] for a, b in zip(said, free, strict=True)]
    work.measure(
        "same_as_artifact",
        "share",
        bootstrap(same, lambda sums: sums[..., 0] / len(same), seed=work.seed, bounds=(0, 1)),
        "foundry-local",
    )
    latency = percentile_interval([answer.latency_ms for answer in answered], 50)
    work.measure("latency_ms", "ms", latency, subject="foundry-local")
    work.measure("load_ms", "ms", run.load_ms, subject="foundry-local")


def check_bundle(
    name: str,
    folder: Path,
    own: LocalModel,
    before: Path,
    task: Task,
    probes: Sequence[Probe],
    answers: Sequence[FoundryAnswer],
) -> list[Link]:
    """Whether the bundle has the weights that were proven, asks as was learned, and whether Foundry Local's `answers`
    to the probes are to prompts of that length, and as good as those of our own runtime with the same folder."""
    free = own.ask_all([probe.messages for probe in probes], Sampling(task.max_tokens), None)
    was = answer_scores(task, probes, [reply.text for reply in free])
    now = answer_scores(task, probes, [answer.text for answer in answers])
    return [
        _same_weights(name, folder, before),
        *check_asking(name, folder, probes),
        _same_lengths(name, probes, plain_probes(own.tokenizer, probes), answers),
        no_worse(name, f"{task.metrics[0].name} in Foundry Local", probes, was, now, "report what it answers"),
    ]


def _same_weights(name: str, folder: Path, before: Path) -> Link:
    files = [path.name for path in weight_files(before)]
    _, other, lacking = filecmp.cmpfiles(before, folder, files, shallow=False)
    changed = ", ".join(other + lacking)
    broken = f"{changed}: not the bytes that were proven" if changed else ""
    return Link(name, "weights", {"files": len(files)}, broken, "deploy it again" if broken else "")


def _same_lengths(name: str, probes: Sequence[Probe], plain: Sequence[Probe], answers: Sequence[FoundryAnswer]) -> Link:
    """Foundry Local tells no ids, but how many a prompt had."""
    compared, figures = "prompts in Foundry Local", {"probes": len(plain)}
    for probe, answer in zip(probes, answers, strict=True):
        if probe in plain and answer.prompt_tokens != len(probe.prompt):
            broken = f"{probe.place}: the prompt has {answer.prompt_tokens} tokens, {len(probe.prompt)} were learned"
            return Link(name, compared, figures, broken, "put the family's template into tokenizer_config.json")
    return Link(name, compared, figures)
