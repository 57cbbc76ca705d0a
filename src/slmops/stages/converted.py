"""`int4` and its like: the student (or the teacher, to compare with) as ONNX, checked against torch on its probes."""

from __future__ import annotations

from dataclasses import asdict

from slmops.core.errors import ModelError
from slmops.core.pipeline import Estimate, Stage, Work
from slmops.optimization.config import OptimizationConfig
from slmops.optimization.onnx import write_onnx
from slmops.runtimes.local import LocalModel
from slmops.runtimes.probes import replay_probes

# How far a probed token's probability may move on average. fp32 must be the same model; a quantized one may differ, but
# not be another. (What it costs in accuracy is for the evidence to say.)
_LIMITS = {"fp32": 0.001, "int8": 0.05, "int4": 0.25}


def converted_stage(source: str, config: OptimizationConfig, name: str = "") -> Stage:
    """Converts the artifact of stage `source`."""
    return Stage(
        name or config.name,
        2,
        {source: source},
        config.model_dump(exclude={"name"}),
        lambda work: _make(source, config, work),
        Estimate(0.2, 100),
        ("threads",),
    )


def _make(source: str, config: OptimizationConfig, work: Work) -> None:
    work.licence = work.parent_licences[source]
    write_onnx(work.inputs[source], work.out, config)
    work.progress(0.8, "comparing with torch on the probes")
    converted = LocalModel(work.out, threads=work.choices["threads"])
    parity = replay_probes(converted.runtime, work.out / "probes.jsonl")
    for figure, value in asdict(parity).items():
        work.measure(f"parity_{figure}", "", float(value), precision=config.precision)
    if parity.mean_probability_difference > _LIMITS[config.precision]:
        raise ModelError(
            f"{config.precision} is no longer the same model: over {parity.probes} probes a token's probability moved "
            f"by {parity.mean_probability_difference:.3f} on average, {_LIMITS[config.precision]} is allowed",
            where=f"optimization.{config.name}",
            remedy="choose a higher precision or a smaller block_size",
        )
