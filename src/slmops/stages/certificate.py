"""`certificate`: what the cached tokens of a teacher are worth, on validation rows, and what others would be.

The gradient that they give the student, as it begins, is held against that of the teacher's whole distribution.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmops.core.errors import need
from slmops.core.files import write_whole
from slmops.core.pipeline import Estimate, Stage, Work
from slmops.models.forward import load_causal_lm, pack_for, target_logits
from slmops.models.packing import Batch, by_length
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.vocabulary import heard_tokens
from slmops.stages.parts import answered_examples, read_answered, read_task, readable
from slmops.stages.project import Project
from slmops.training.certificate import Certificate, certify
from slmops.training.losses import mix_of
from slmops.training.target_codes import Kind
from slmops.training.targets import kept_tokens, teacher_logprobs

if TYPE_CHECKING:
    from torch import Tensor, nn

_FILE = "certificate.json"
_MAX_TOKENS = 1024
_ROWS, _TARGETS = 64, 256
_LARGE = 0.25  # of the gradient's own size


def certificate_stage(project: Project) -> Stage:
    distillation = project.distillation
    section = {
        "kind": distillation.cache.kind,
        "loss": distillation.loss.model_dump(),
        "prompt": project.student.prompt,
        "temperature": distillation.temperature,
        "seed": project.seed,
    }
    inputs = {name: name for name in ("dataset", "teacher", "pruned", "targets")}
    choices = ("number_format", "threads")
    return Stage("certificate", 3, inputs, section, lambda work: _make(project, work), Estimate(0.3, 1), choices)


def read_certificates(folder: Path) -> list[Certificate]:
    """Of the cache first, then of others: both kinds where the loss allows, fewer and more tokens."""
    return [Certificate(**one) for one in json.loads((folder / _FILE).read_text("utf-8"))]


def say_worth(one: Certificate) -> str:
    """What a cache is worth, for people."""
    return (
        f"keep {one.k} token{'s' * (one.k > 1)} at each place ({one.kind}): gradients are {one.error:.1%} off those of "
        f"the teacher's whole distribution, their mean {one.bias:.1%}; {one.total_variation:.1%} of probability is at "
        "wrong tokens"
    )


def _make(project: Project, work: Work) -> None:
    need("torch", "train").set_num_threads(work.choices["threads"])
    kind, k = project.distillation.cache.kind, kept_tokens(work.inputs["targets"])
    kinds: tuple[Kind, ...] = ("top", "sampled") if project.distillation.loss.is_linear else ("top",)
    ways = [(other, tokens) for other in kinds for tokens in (k // 4, k, k * 4)]
    others = [way for way in ways if way[1] and way != (kind, k)]
    found = _certify(project, work, [(kind, k), *others])
    write_whole(work.out / _FILE, json.dumps([asdict(one) for one in found], indent=1) + "\n")
    for one in found[:1]:
        if one.error > _LARGE:
            best = min(found, key=lambda other: other.error)
            other = f"distillation.cache: {{kind: {best.kind}, top_k: {best.k}}} would be {best.error:.1%} off"
            work.progress(1.0, f"warning: targets {say_worth(one)}; {other}")
        conditions: dict[str, Any] = {"kind": one.kind, "k": one.k, "targets": one.targets}
        for name in ("total_variation", "error", "bias"):
            work.measure(f"cache_{name}", "share", getattr(one, name), **conditions)
        work.measure("cache_bytes_per_target", "bytes", float(one.bytes_per_target), **conditions)


def _certify(project: Project, work: Work, ways: list[tuple[Kind, int]]) -> list[Certificate]:
    import torch

    dataset, pruned = work.inputs["dataset"], work.inputs["pruned"]
    task, distillation = read_task(dataset), project.distillation
    prompt = project.prompt_of("teacher")
    held_out = readable(work.inputs["teacher"], task, read_answered(dataset, "validation", task)[:_ROWS], prompt)
    held_out = readable(pruned, task, held_out, project.student.prompt)
    if not held_out:
        return []
    own = by_length(answered_examples(Tokenizer(pruned), task, held_out, project.student.prompt))
    order = {example.row: place for place, example in enumerate(own)}
    asked = answered_examples(Tokenizer(work.inputs["teacher"]), task, held_out, prompt)
    asked.sort(key=lambda example: order[example.row])
    heard = heard_tokens(pruned, work.inputs["teacher"])
    model, student = load_causal_lm(work.inputs["teacher"], work.choices["number_format"]), load_causal_lm(pruned)
    said = teacher_logprobs(model, asked, distillation.temperature, _MAX_TOKENS, heard)
    teachers = _first(logprobs for _, logprobs in said).float()
    batches = list(pack_for(student, own, _MAX_TOKENS))
    students = _first(_logits(student, batches))
    ids = torch.cat([batch.target_ids for batch in batches])[: len(students)]
    loss, temperature = mix_of(distillation.loss), distillation.temperature
    return certify(ways, teachers, students, ids, loss, temperature, work.seed)


def _logits(model: nn.Module, batches: Iterable[Batch]) -> Iterator[Tensor]:
    import torch

    for batch in batches:
        with torch.inference_mode():
            found = target_logits(model, batch)
        yield found


def _first(parts: Iterable[Tensor]) -> Tensor:
    """The first so many rows of all parts; no more of them are computed."""
    import torch

    taken: list[Tensor] = []
    for part in parts:
        taken.append(part[: _TARGETS - sum(map(len, taken))])
        if sum(map(len, taken)) >= _TARGETS:
            break
    return torch.cat(taken).clone()
