"""`pruned`: the student before it has learned: chosen layers of the teacher, or a ready small model."""

from __future__ import annotations

from slmops.core.pipeline import Estimate, Stage, Work
from slmops.models.forward import load_causal_lm
from slmops.optimization.prune import keep_layers, lower_layers, spread_layers
from slmops.stages.project import Project
from slmops.stages.saved import save_model
from slmops.stages.teacher import base_model


def pruned_stage(project: Project, identity: str | None) -> Stage:
    """`identity` is that of student.model, None where the student is cut from the teacher."""
    from_teacher = project.student.model is None
    student = project.student
    section = {"model": identity, "layers": student.layers, "keep": student.keep, "prompt": student.prompt}
    inputs = {"dataset": "dataset"} | ({"teacher": "teacher"} if from_teacher else {})
    return Stage("pruned", 3, inputs, section, lambda work: _make(project, work), Estimate(0.1, 210), ("threads",))


def _make(project: Project, work: Work) -> None:
    student = project.student
    if student.model is None:
        source, licence = work.inputs["teacher"], work.parent_licences["teacher"]
    else:
        base = base_model(project, student.model, work)
        source, licence = base.folder, base.licence
    work.licence = licence
    model = load_causal_lm(source)
    if student.layers is not None:
        count = model.config.num_hidden_layers
        if student.layers > count:
            raise project.error(
                "student.layers", f"{student.layers} is more than the teacher's {count}", f"choose 1…{count}"
            )
        choose = lower_layers if student.keep == "lower" else spread_layers
        model = keep_layers(model, choose(count, student.layers))
    save_model("pruned", model, source, work.out, work.inputs["dataset"], student.prompt, licence)
