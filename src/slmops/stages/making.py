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
    teacher = here.value if here else bill / answers * 1e6 if answers else None
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
    """What a teacher behind an endpoint was paid, and for how many answers; nothing where no price is given, or no
    tokens were told."""
    price = project.teacher.usd_per_million_tokens if project.teacher else None
    used = {one.name: one.value.value for one in labels.measurements if one.subject == "endpoint"} if labels else {}
    if price is None or not used:
        return 0.0, 0.0
    return (price.input * used["read_tokens"] + price.output * used["written_tokens"]) / 1e6, used["answers"]
