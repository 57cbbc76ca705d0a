"""What can be said about proof."""

from __future__ import annotations

from pydantic import Field

from slmops.core.config import Section


class BenchConfig(Section):
    """How speed is measured."""

    threads: int | None = Field(
        None, ge=1, le=1024, description="for each model; as many as there are cores unless given"
    )


class CostConfig(Section):
    """What a machine costs."""

    usd_per_hour: float = Field(0.10, ge=0, description="of the machine that answers")


class EvaluationConfig(Section):
    """What is compared, and how."""

    compare: tuple[str, ...] | None = Field(
        None,
        description="teacher, untrained, student, optimizations by name, teacher_int4, classical; all unless given",
    )
    bench: BenchConfig = BenchConfig()
    cost: CostConfig = CostConfig()
