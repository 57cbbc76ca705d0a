"""The figures that the field quotes, beside ours from one run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from slmops.core.measurement import Interval
from slmops.evaluation.figures import Unit, describe_figure, write_difference
from slmops.evaluation.summary import Published
from slmops.optimization.config import OptimizationConfig

Figures = Mapping[tuple[str, str, str], Interval]  # (subject, figure, against whom or "")
_NOMINAL = {"int8": 0.25, "int4": 0.125}  # bytes of a weight, as a share of fp32's


def published(
    figures: Figures,
    shipped: str,
    quality: str,
    optimizations: Sequence[OptimizationConfig],
    teacher_usd: float | None,
) -> tuple[Published, ...]:
    """Each claim with ours; what was not measured is None. `quality` is the figure that decides, `teacher_usd` what a
    million of the teacher's answers cost."""
    return (*_of_distillation(figures, shipped, teacher_usd), *_of_quantization(figures, quality, optimizations))


def _of_distillation(figures: Figures, shipped: str, teacher_usd: float | None) -> Iterator[Published]:
    def row(claim: str, quoted: str, figure: str, least: float, unit: Unit, note: str = "") -> Published:
        return _claim(f"distillation: {claim}", quoted, figures.get((shipped, figure, "teacher")), least, unit, note)

    memory, resident = "−95 % (1.2 TB → 60 GB)", "the Python process included"
    yield row("time against the teacher", "−85 % (3.2 s → 0.48 s)", "latency_reduction", 0.85, "reduction")
    yield row("model bytes against the teacher", memory, "model_bytes_reduction", 0.95, "reduction")
    yield row("resident memory against the teacher", memory, "memory_reduction", 0.95, "reduction", resident)
    yield row("accuracy kept", "92 % (94.5 % → 87.0 %)", "accuracy_kept", 0.92, "share")
    ours = figures.get((shipped, "cost_per_million_usd", ""))
    saved = Interval.exact(1 - ours.value / teacher_usd) if ours and teacher_usd else None
    here = ("teacher", "cost_per_million_usd", "") in figures
    note = "same price an hour, more answers in it" if here else "the endpoint’s bill against this machine’s time"
    yield _claim("distillation: operating cost", "−60 %", saved, 0.6, "reduction", note)


def _of_quantization(
    figures: Figures, quality: str, optimizations: Sequence[OptimizationConfig]
) -> Iterator[Published]:
    """How much smaller than the student in fp32 each conversion is, and what that cost."""
    for one in optimizations:
        nominal = _NOMINAL.get(one.precision)
        if nominal is None:
            continue
        called = one.precision if one.name == one.precision else f"{one.precision} ({one.name})"
        ours, student = (figures.get((name, "model_bytes", "")) for name in (one.name, "student"))
        share = Interval.exact(ours.value / student.value) if ours and student else None
        if one.precision == "int4":
            smaller = share.remaining() if share else None
            note = _lost(figures, quality, one.name)
            yield _claim(f"{called}: size", "−75 % or better", smaller, 0.75, "reduction", note)
        yield Published(
            claim=f"{called}: bytes, fp32 = 1",
            published=f"{nominal:g}",
            ours=share,
            unit="ratio",
            reached=share.value <= nominal if share else None,
            note="theirs is nominal: scales, and what stays in fp32, add",
        )


def _lost(figures: Figures, quality: str, name: str) -> str:
    difference = figures.get((name, "difference", "student"))
    if difference is None:
        return "against the student in fp32"
    described = describe_figure(quality)
    value, between = write_difference(difference, described.unit)
    return f"against the student in fp32; {described.label} {value} ({between})"


def _claim(claim: str, quoted: str, ours: Interval | None, least: float, unit: Unit, note: str) -> Published:
    reached = ours.value >= least if ours else None
    return Published(claim=claim, published=quoted, ours=ours, unit=unit, reached=reached, note=note)
