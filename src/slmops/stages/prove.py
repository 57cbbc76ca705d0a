"""Replays the chain of proofs over what a project made: does every stage still say what the one before it said?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from slmops.core.artifact import Manifest
from slmops.core.errors import SlmopsError
from slmops.core.store import Store
from slmops.deployment.foundry_local import ask
from slmops.runtimes.local import LocalModel
from slmops.runtimes.probes import PROBES, pairs_of, read_probes
from slmops.runtimes.proof import Link, read_chain, same_logprobs
from slmops.runtimes.rendering import check_asking
from slmops.runtimes.torch_lm import TorchRuntime
from slmops.stages.before import Progress
from slmops.stages.bundle import check_bundle
from slmops.stages.converted import check_answers, check_converted
from slmops.stages.parts import read_task
from slmops.stages.project import Project
from slmops.stages.run import choices, open_store, plan


def prove(project: Project, progress: Progress = lambda stage, share, note: None) -> list[Link]:
    """Every link, the earliest first, checked now; what was compared with the model in memory as it was found then.

    Raises:
        SlmopsError: no model was made of this config.
    """
    store = open_store(project)
    with store.in_use():
        return _prove(project, store, progress)


def _prove(project: Project, store: Store, progress: Progress) -> list[Link]:
    made = {item.stage.name: item.made for item in plan(project) if item.made}
    if "student" not in made:
        raise SlmopsError("no model was made of this config", where="prove", remedy="slmops run")
    threads = choices(project)["threads"]
    folders = {name: store.open(manifest.id) for name, manifest in made.items()}
    optimizations = [config.name for config in project.optimization]
    links, checked = [], [name for name in ("teacher", "student", *optimizations, "bundle") if name in folders]

    def tell(name: str) -> None:
        progress("prove", checked.index(name) / len(checked), name)

    for name in ("teacher", "student"):
        if name in folders:
            tell(name)
            links += [read_chain(folders[name])[0], *_replay(name, folders[name], threads)]
    student = folders["student"]
    for config in project.optimization:
        if config.name in folders:
            tell(config.name)
            model = LocalModel(folders[config.name], threads=threads)
            links += check_converted(config.name, folders[config.name], model, student, config)
            links.append(check_answers(config.name, model, student, threads))
    if "bundle" in folders:
        tell("bundle")
        task, shipped, folder = read_task(folders["dataset"]), folders[project.shipped()], folders["bundle"]
        probes = read_probes(shipped / PROBES)
        answers = ask(folder, [probe.messages for probe in probes], max_tokens=task.max_tokens).answers
        own = LocalModel(folder, threads=threads)
        links += check_bundle("bundle", folder, own, shipped, task, probes, answers)
    return links


def recorded_chain(project: Project, made: Mapping[str, Manifest], store: Store) -> list[Link]:
    """What the stages themselves found: the teacher's links, and those of what ships."""
    names = ["teacher", "bundle" if "bundle" in made else project.shipped()]
    return [link for name in names if name in made for link in read_chain(store.open(made[name].id))]


def _replay(name: str, folder: Path, threads: int) -> list[Link]:
    probes = read_probes(folder / PROBES)
    scores = TorchRuntime(folder, ends=frozenset(), threads=threads).score(pairs_of(probes))
    again = "install the versions it was made with, or make it again: slmops run --from " + name
    return [
        same_logprobs(name, "log-probabilities, read again", probes, scores, again),
        *check_asking(name, folder, probes),
    ]
