"""How much of each part a student keeps in each of the rounds that it is cut in. Knows sizes, no model."""

from __future__ import annotations

from slmops.training.config import StudentConfig
from slmops.training.estimate import Shape

_STEPS = {"units": 32, "width": 32}  # what these are multiples of


def of_round(shape: Shape, student: StudentConfig, left: int) -> StudentConfig:
    """What the student keeps of a model of that shape, where `left` rounds are to end at what it keeps in the end: of
    each part about as much goes in each."""
    there = {"layers": shape.layers, "units": shape.inner, "kv_heads": shape.kv_heads, "width": shape.width}
    cuts = {name: wanted for name, wanted in student.cuts.items() if name in there}
    kept = {name: _kept(there[name], wanted, left, _STEPS.get(name, 1)) for name, wanted in cuts.items()}
    if student.heads:
        queries = student.heads // (student.kv_heads or shape.kv_heads)
        own = _kept(shape.heads // shape.kv_heads, queries, left, 1)
        kept["heads"] = own * kept.get("kv_heads", shape.kv_heads)
    return student.model_copy(update=kept)


def _kept(count: int, wanted: int, left: int, step: int) -> int:
    steps = (count - wanted) // step
    return wanted + step * (steps - round(steps / left))
