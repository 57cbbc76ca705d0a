"""`int4` and its like: the student (or the teacher, to compare with) as ONNX, held against torch on its probes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slmops.core.pipeline import Stage, Work
from slmops.evaluation.compare import parse_all, scores
from slmops.models.folder import read_card
from slmops.optimization.config import OptimizationConfig
from slmops.optimization.onnx import write_onnx
from slmops.runtimes.local import LocalModel
from slmops.runtimes.probes import PROBES, Probe, pairs_of, read_probes
from slmops.runtimes.proof import Link, no_worse, read_chain, require, same_logprobs, write_chain
from slmops.runtimes.rendering import check_asking
from slmops.runtimes.types import Sampling
from slmops.stages.estimates import converted_estimate
from slmops.stages.project import Project
from slmops.tasks import load_task
from slmops.tasks.types import Task

_REMEDY = "choose a higher precision or a smaller block_size"


def converted_stage(project: Project, source: str, config: OptimizationConfig, name: str = "") -> Stage:
    """Converts the artifact of stage `source`."""
    name = name or config.name
    return Stage(
        name,
        3,
        {source: source},
        config.model_dump(exclude={"name"}),
        lambda work: _make(name, source, config, work),
        converted_estimate(project, source, config),
        ("threads",),
    )


def _make(name: str, source: str, config: OptimizationConfig, work: Work) -> None:
    work.licence = work.parent_licences[source]
    before, threads = work.inputs[source], work.choices["threads"]
    write_onnx(before, work.out, config)
    work.progress(0.8, "comparing with torch on the probes")
    model = LocalModel(work.out, threads=threads)
    links = check_converted(name, work.out, model, before, config)
    if source == "student":  # what the teacher's int4 loses is only compared with
        links.append(check_answers(name, model, before, threads))
    write_chain(work.out, [*read_chain(before), *links])
    require(links)


def check_converted(name: str, folder: Path, model: LocalModel, before: Path, config: OptimizationConfig) -> list[Link]:
    """Whether the converted model of `folder` asks as was learned and, in fp32, finds the answers as likely. If it is
    quantized, it may find them less likely: what counts is how it answers."""
    probes = read_probes(before / PROBES)
    return [
        *check_asking(name, folder, probes),
        same_logprobs(
            name,
            f"log-probabilities in {config.precision}",
            probes,
            model.runtime.score(pairs_of(probes)),
            "choose another base model, and report this one",
            exact=config.precision == "fp32",
        ),
    ]


def check_answers(name: str, model: LocalModel, before: Path, threads: int) -> Link:
    """Whether the converted model answers the probes as well as it did in torch, by the task's first figure."""
    probes, card = read_probes(before / PROBES), read_card(before)
    assert card is not None
    task = load_task(card.task["name"], **card.task["options"])
    was = answer_scores(task, probes, _answers(task, probes, LocalModel(before, threads=threads)))
    now = answer_scores(task, probes, _answers(task, probes, model))
    return no_worse(name, f"{task.metrics[0].name} on the probes", probes, was, now, _REMEDY)


def answer_scores(task: Task, probes: Sequence[Probe], texts: Sequence[str]) -> list[float]:
    """How good each probe's answer is, alone."""
    metric = task.metrics[0]
    return scores(metric, metric.rows(parse_all(task, texts), [probe.gold for probe in probes]))


def _answers(task: Task, probes: Sequence[Probe], model: LocalModel) -> list[str]:
    asked = [probe.messages for probe in probes]
    return [reply.text for reply in model.ask_all(asked, Sampling(task.max_tokens), model.constraint(task.grammar))]
