"""`pruned`: the student before it has learned: chosen layers of the teacher, a ready small model, or random weights;
with the tokens that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmops.core.errors import need
from slmops.core.pipeline import Stage, Work
from slmops.models.folder import read_json
from slmops.models.forward import last_states, load_causal_lm, pack_for
from slmops.models.packing import Example, by_length
from slmops.models.tokenizer import Tokenizer
from slmops.optimization.fresh import fresh_model
from slmops.optimization.importance import Importance, measure
from slmops.optimization.narrow import keep_channels, keep_groups, keep_heads, keep_units
from slmops.optimization.prune import (
    dissimilar_layers,
    greedily_kept_layers,
    keep_layers,
    least_missed_layers,
    lower_layers,
    spread_layers,
    with_layers,
)
from slmops.optimization.vocabulary import copy_kept, read_kept, trim_model
from slmops.stages.base_models import source_of_student, stored_base
from slmops.stages.estimates import pruned_estimate
from slmops.stages.fits import check_cuts
from slmops.stages.parts import answered_examples, read_answered, read_task, readable
from slmops.stages.project import Project
from slmops.stages.rounds import of_round
from slmops.stages.saved import save_model
from slmops.tasks.types import Prompt
from slmops.training.estimate import Shape
from slmops.training.looks import mean_loss
from slmops.training.losses import cross_entropy
from slmops.training.student_config import StudentConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

_BY_LOSS = {"least-missed": least_missed_layers, "greedy": greedily_kept_layers}
_CALIBRATION_ROWS, _MAX_TOKENS = 32, 1024


def pruned_stage(project: Project, identity: str | None) -> Stage:
    """`identity` is that of student.model, None where the student is cut from the teacher."""
    from_teacher = project.student.model is None
    student = project.student
    section = {"model": identity, "layers": student.layers, "keep": student.keep, "prompt": student.prompt}
    inputs = {"dataset": "dataset"} | ({"teacher": "teacher"} if from_teacher else {})
    section |= {"from": "scratch", "seed": project.seed} if student.from_scratch else {}
    section |= {"rounds": student.rounds} if student.rounds > 1 else {}
    section |= student.cuts
    inputs |= {"vocabulary": "vocabulary"} if student.vocabulary != "all" else {}
    estimate = pruned_estimate(project)
    stored = stored_base(project, student.model)
    return Stage("pruned", 7, inputs, section, lambda work: _make(project, work), estimate, ("threads",), stored)


def pruned_again_stage(project: Project, number: int) -> Stage:
    """More of a student that has learned is cut: `number` of all rounds, counted from 1."""
    student = project.student
    section: dict[str, Any] = {"keep": student.keep, "left": student.rounds - number + 1}
    section |= {name: kept for name, kept in student.cuts.items() if name != "context"}
    inputs = {"dataset": "dataset", "student": name_of_round(number - 1), "pruned": "pruned"}
    make = partial(_make_again, project, student.rounds - number + 1)
    return Stage(f"pruned_{number}", 4, inputs, section, make, pruned_estimate(project, number), ("threads",))


def name_of_round(number: int) -> str:
    """The stage of a student that learns between two rounds."""
    return f"student_{number}"


def _make_again(project: Project, left: int, work: Work) -> None:
    need("torch", "train").set_num_threads(work.choices["threads"])
    source, work.licence = work.inputs["student"], work.parent_licences["student"]
    model = load_causal_lm(source)
    kept = of_round(Shape.of(read_json(source / "config.json")), project.student, left)
    _cut(model, _calibration(source, project.student.prompt, work), kept, work)
    copy_kept(work.inputs["pruned"], work.out)
    save_model("pruned", model, source, work.out, work.inputs["dataset"], project.student.prompt, work.licence)


def _make(project: Project, work: Work) -> None:
    need("torch", "train").set_num_threads(work.choices["threads"])
    student = project.student
    source = source_of_student(project, work)
    config = read_json(source / "config.json")
    check_cuts(project, config, learned=True)
    if student.from_scratch:
        model = fresh_model(source, student.cuts, work.seed)
    else:
        model = load_causal_lm(source)
        if student.layers is not None or student.is_narrower:
            kept = of_round(Shape.of(config), student, student.rounds)
            prompt = "full" if student.model else project.prompt_of("teacher")  # a ready model has learned no task
            _cut(model, _calibration(source, prompt, work), kept, work)
    if student.context is not None:
        _shorten(model, student.context, project)
    if student.vocabulary != "all":
        source = work.inputs["vocabulary"]
        kept_tokens = read_kept(source)
        assert kept_tokens is not None
        trim_model(model, kept_tokens)
        copy_kept(source, work.out)
    save_model("pruned", model, source, work.out, work.inputs["dataset"], student.prompt, work.licence)


def _shorten(model: nn.Module, context: int, project: Project) -> None:
    config: Any = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") != "default":
        what = f"{rope['rope_type']} rotary embeddings are told by the context"
        raise project.error("student.context", what, "remove student.context")
    config.max_position_embeddings = context
    if hasattr(config, "original_max_position_embeddings"):  # another one would tell of long rotary embeddings
        config.original_max_position_embeddings = context


def _cut(model: nn.Module, examples: Sequence[Example], student: StudentConfig, work: Work) -> None:
    """Cuts layers, and what is in each, in place, to what the student keeps: told by the examples."""
    looked_at = student.is_narrower or student.keep == "dissimilar"
    found = _measured(model, examples, work) if looked_at else None
    keep = student.layers or model.config.num_hidden_layers
    layers = _choose_layers(model, examples, keep, student.keep, found, work)
    keep_layers(model, layers)
    queries = student.heads and student.heads // (student.kv_heads or model.config.num_key_value_heads)
    for wanted, of, narrow in (
        (student.units, "units", keep_units),
        (queries, "heads", keep_heads),
        (student.kv_heads, "groups", keep_groups),
    ):
        if wanted is not None and found is not None:
            magnitudes = [getattr(found, of)[layer] for layer in layers]
            narrow(model, [_strongest(magnitude, wanted) for magnitude in magnitudes])
    if student.width is not None and found is not None:
        keep_channels(model, _strongest(found.channels, student.width))


def _calibration(source: Path, prompt: Prompt, work: Work) -> list[Example]:
    """Rows that the model will learn, by which is told what stays of it."""
    task = read_task(work.inputs["dataset"])
    some = readable(source, task, read_answered(work.inputs["dataset"], "train", task)[:_CALIBRATION_ROWS], prompt)
    return answered_examples(Tokenizer(source), task, some, prompt)


def _measured(model: nn.Module, examples: Sequence[Example], work: Work) -> Importance:
    work.progress(0.1, f"looking at what each part does with {len(examples)} rows")
    return measure(model, pack_for(model, by_length(examples), _MAX_TOKENS))


def _choose_layers(
    model: nn.Module, examples: Sequence[Example], keep: int, how: str, found: Importance | None, work: Work
) -> list[int]:
    count, asked = model.config.num_hidden_layers, 0

    def loss(layers: Sequence[int]) -> float:
        nonlocal asked
        asked += 1
        work.progress(0.2, f"asked without one layer, {asked} times")
        with with_layers(model, layers):
            return mean_loss(model, examples, _MAX_TOKENS, cross_entropy, lambda batch: last_states(model, batch))

    if how == "dissimilar" and found is not None:
        return dissimilar_layers(count, keep, found.angle)
    if how in _BY_LOSS:
        return _BY_LOSS[how](count, keep, loss)
    return spread_layers(count, keep) if how == "spread" else lower_layers(count, keep)


def _strongest(magnitudes: Tensor, count: int) -> Tensor:
    """Their indices, in order; of several rows those in each."""
    return magnitudes.topk(count).indices.sort().values
