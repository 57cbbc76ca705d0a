"""The section `evaluation`: what is compared, and under which conditions."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from slmops.core.config import Section, one_or_many, wrong
from slmops.core.named import is_named
from slmops.tasks import FURTHER


def _is_a_metric(name: str) -> str:
    if name not in FURTHER and not is_named(name):
        raise wrong(
            f"there is no metric {name!r}", f"write {', '.join(FURTHER)}, or module:name, of a file beside slmops.yaml"
        )
    return name


Further = Annotated[str, AfterValidator(_is_a_metric)]


class BenchConfig(Section):
    """How speed is measured."""

    main: ClassVar[str] = "threads"

    threads: int | None = Field(
        default=None, ge=1, le=1024, description="each model's threads; if absent, as many as cores, or OMP_NUM_THREADS"
    )
    messages: int = Field(
        default=100,
        ge=2,
        description="how many test messages are answered one by one and timed; others are answered many at once",
    )


class CostConfig(Section):
    """What answering costs."""

    main: ClassVar[str] = "usd_per_hour"

    usd_per_hour: float = Field(default=0.10, ge=0, le=10_000, description="the price of the machine that answers")


class VerdictConfig(Section):
    """How `slmops verdict` finds out whether the teacher helped."""

    main: ClassVar[str] = "seeds"

    seeds: int = Field(default=5, ge=2, le=100, description="how often each way is trained, at most")


class EvaluationConfig(Section):
    """What is compared, and under which conditions."""

    compare: Annotated[tuple[str, ...], one_or_many(str)] | None = Field(
        default=None,
        description="those compared: teacher, untrained, student, optimizations by name, teacher_int4, classical; "
        "all if absent",
    )
    metrics: Annotated[tuple[Further, ...], one_or_many(Further)] = Field(
        default=(),
        description="further figures: bleu, or functions of your own, module:name, (answer, gold) → 0 to 1",
    )
    bench: BenchConfig = BenchConfig()
    cost: CostConfig = CostConfig()
    verdict: VerdictConfig = VerdictConfig()
