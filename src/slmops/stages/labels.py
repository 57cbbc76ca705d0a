"""`labels`: the teacher's answers to the unlabelled records, with its confidence; doubtful ones are rejected."""

from __future__ import annotations

from slmops.core.pipeline import Estimate, Stage, Work
from slmops.data.records import write_records
from slmops.runtimes.local import LocalModel
from slmops.stages.estimates import forward_minutes
from slmops.stages.parts import read_part, read_task
from slmops.stages.project import Project
from slmops.synthesis.label import label_records


def labels_stage(project: Project) -> Stage:
    return Stage(
        "labels",
        1,
        {"dataset": "dataset", "teacher": "teacher"},
        {"accept": project.synthesis.accept.model_dump()},
        lambda work: _make(project, work),
        Estimate(forward_minutes(project, "unlabelled"), 1),
        ("number_format", "threads"),
    )


def _make(project: Project, work: Work) -> None:
    records = read_part(work.inputs["dataset"], "unlabelled")
    teacher = LocalModel(
        work.inputs["teacher"], threads=work.choices["threads"], number_format=work.choices["number_format"]
    )
    answered = label_records(
        teacher,
        read_task(work.inputs["dataset"]),
        records,
        by="teacher",
        accept_confidence=project.synthesis.accept.confidence,
        report=lambda done, total: work.progress(done / total, f"{done}/{total} messages"),
    )
    rejected = sum(record.answers[-1].rejected is not None for record in answered)
    work.measure("accepted", "rows", float(len(answered) - rejected))
    work.measure("rejected", "rows", float(rejected), reason="confidence too low")
    write_records(work.out / "labels.jsonl", answered)
