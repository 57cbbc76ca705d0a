"""The pipeline that a config asks for: which stages, in which order. Runs nothing."""

from __future__ import annotations

from slmops.core.pipeline import Stage
from slmops.optimization.config import OptimizationConfig
from slmops.stages.base_models import identity_of
from slmops.stages.bundle import bundle_stage
from slmops.stages.certificate import certificate_stage
from slmops.stages.converted import converted_stage
from slmops.stages.dataset import dataset_stage
from slmops.stages.evidence import evidence_stage
from slmops.stages.labels import labels_stage
from slmops.stages.project import Project
from slmops.stages.pruned import pruned_again_stage, pruned_stage
from slmops.stages.student import student_stage
from slmops.stages.targets import targets_stage
from slmops.stages.teacher import teacher_stage
from slmops.stages.vocabulary import vocabulary_stage


def assemble(project: Project) -> list[Stage]:
    """The stages of `project`, each after its inputs. Heavy libraries are imported only when a stage is made."""
    stages = [dataset_stage(project)]
    for name, teacher in project.teachers.items():
        stages.append(teacher_stage(project, name, teacher, identity_of(project, teacher.model)))
    if project.teacher:
        stages.append(labels_stage(project))
    student_model = project.student.model
    identity = identity_of(project, student_model) if student_model else None
    stages += [vocabulary_stage(project, identity)] if project.student.vocabulary != "all" else []
    stages.append(pruned_stage(project, identity))
    if project.caches_targets:
        stages.append(targets_stage(project))
        if project.matches() == "tokens" and not project.respells:
            stages.append(certificate_stage(project))
    for number in range(1, project.student.rounds + 1):
        stages += [pruned_again_stage(project, number)] if number > 1 else []
        stages.append(student_stage(project, number))
    stages += [converted_stage(project, "student", optimization) for optimization in project.optimization]
    if "teacher_int4" in project.subjects():
        stages.append(converted_stage(project, "teacher", OptimizationConfig(name="int4"), name="teacher_int4"))
    stages.append(evidence_stage(project))
    if project.deployment:
        stages.append(bundle_stage(project))
    return stages
