"""What it cost to make a student, and when that is saved: this machine's time, and an endpoint's bill. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from slmops.core.artifact import Manifest
from slmops.core.measurement import Interval
from slmops.evaluation.summary import Making
from slmops.stages.project import Project


def making_of(
    project: Project, made: Mapping[str, Manifest], figures: Mapping[tuple[str, str, str], Interval]
) -> Making:
    """Of all that was made, by stage; `figures` are what evidence measured."""
    bill, answers = _bill(project, made.get("labels"))
    ours, here = (figures.get((name, "cost_per_million_usd", "")) for name in (project.shipped(), "teacher"))
    teacher = here.value if here else bill / answers * 1e6 if answers and not project.local_teacher else None
    seconds = sum(manifest.made_by.seconds for manifest in made.values())
    usd = seconds / 3600 * project.evaluation.cost.usd_per_hour + bill
    saved = (teacher - ours.value) / 1e6 if ours and teacher else 0.0
    return Making(
        seconds=seconds,
        usd=usd,
        endpoint_usd=bill if answers else None,
        teacher_usd_per_million=teacher,
        break_even_answers=usd / saved if saved > 0 else None,
    )


def _bill(project: Project, labels: Manifest | None) -> tuple[float, float]:
    """What teachers behind endpoints were paid, and for how many answers; nothing of those that have no price, or told
    no tokens."""
    bill = answers = 0.0
    for name, teacher in project.endpoints.items():
        price, subject = teacher.usd_per_million_tokens, f"endpoint {name}" if project.hears_several else "endpoint"
        used = {one.name: one.value.value for one in labels.measurements if one.subject == subject} if labels else {}
        if price and used:
            bill += (price.input * used["read_tokens"] + price.output * used["written_tokens"]) / 1e6
            answers += used["answers"]
    return bill, answers
