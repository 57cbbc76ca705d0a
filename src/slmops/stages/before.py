"""What is told before a run, a search or a verdict makes anything, of what would otherwise be found out late, or never.

In come a project, whose base models are here, and its plan; out go warnings, or an error. Makes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from importlib.util import find_spec

from slmops.core import machine
from slmops.core.errors import MissingExtraError, ModelError
from slmops.core.pipeline import Planned
from slmops.optimization.onnx import check_convertible
from slmops.runtimes.remote import read_key
from slmops.stages.base_models import folder_of
from slmops.stages.fits import check_adapted
from slmops.stages.project import Project

Progress = Callable[[str, float, str], None]
_ONNX = (("onnxruntime_genai", "onnx"),)
_NEEDS = {  # (module, extra) of stages that come late
    "teacher_int4": _ONNX,
    "evidence": (("sklearn", "evaluation"), ("scipy", "evaluation"), ("matplotlib", "evaluation")),
    "bundle": (("foundry_local_sdk", "foundry"),),
}


def check_before(project: Project, planned: Sequence[Planned], progress: Progress) -> None:
    """That what is planned can be made, as far as base models, extras and keys tell; warns of what does nothing.

    Raises:
        SlmopsError: it cannot be.
    """
    running = {item.stage.name for item in planned if item.runs}
    _check_installed(project, running)
    _check_convertible(project, running)
    if "student" in running:
        check_adapted(project)
    for teacher in project.endpoints.values() if "labels" in running else ():
        read_key(teacher.api_key_env)
    free_mb = machine.free_memory_bytes() / 1e6
    for item in planned:
        if item.runs and (needed_mb := item.estimate.memory_mb or 0) > free_mb:
            told = f"about {needed_mb:,.0f} MB of memory are needed, {free_mb:,.0f} MB are free"
            progress(item.stage.name, 0.0, f"warning: {told}; before it learns it is looked at more closely")
    if running:
        _warn_of_idle(project, progress)


def _warn_of_idle(project: Project, progress: Progress) -> None:
    if project.matches() == "labels" and "cache" in project.distillation.model_fields_set:
        progress("targets", 0.0, "warning: distillation.cache does nothing: probabilities of labels are kept whole")
    if project.caches_targets and not project.distillation.loss.follows_teacher:
        told = "no loss follows the probabilities of the teacher; add forward_kl: …, or write match: answers"
        progress("targets", 0.0, f"warning: distillation.loss: {told}")
    if any(teacher.prompt == "short" and not teacher.train for teacher in project.teachers.values()):
        told = "a teacher that is asked without the instruction is taught nothing: it must have learned the task before"
        progress("labels", 0.0, f"warning: teacher.prompt: {told}")
    for name in ("distillation", "synthesis"):
        if project.teacher is None and name in project.model_fields_set:
            progress("student", 0.0, f"warning: {name} does nothing: there is no teacher")


def _check_installed(project: Project, running: Collection[str]) -> None:
    """That what stages need is there, of those whose need would be found out only when all before them is made.

    Raises:
        MissingExtraError: it is not.
    """
    late = dict.fromkeys((one.name for one in project.optimization), _ONNX) | _NEEDS
    for stage, needed in late.items():
        for module, extra in needed if stage in running else ():
            if find_spec(module) is None:
                remedy = f"pip install 'slmops[{extra}]'"
                raise MissingExtraError(f"{stage} needs {module}, which is not installed", remedy=remedy)


def _check_convertible(project: Project, running: Collection[str]) -> None:
    """That the student can become what it is to be: told before it is made, not after.

    Raises:
        ConfigError: ONNX has no form of such models.
    """
    wanted = [one for one in project.optimization if one.name in running]
    origin = folder_of(project, project.student_origin)
    if not wanted or "student" not in running or origin is None:
        return
    try:
        check_convertible(origin, wanted[0])
    except ModelError as error:
        raise project.error("optimization", error.what, "write optimization: [], or another model") from error
