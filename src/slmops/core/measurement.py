"""What is measured: a value with its interval, and what it was measured on. Knows no threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

ArtifactId = str
RunId = str


@dataclass(frozen=True)
class Interval:
    """A point estimate and its interval at confidence `level` from `n` observations (exact: low = high, n = 1)."""

    value: float
    low: float
    high: float
    level: float = 0.95
    n: int = 1

    @classmethod
    def exact(cls, value: float) -> Interval:
        return cls(value, value, value)

    def scaled(self, factor: float) -> Interval:
        """So many times as much; the factor is not below 0."""
        return replace(self, value=self.value * factor, low=self.low * factor, high=self.high * factor)

    def remaining(self) -> Interval:
        """What a reduction leaves: 0.952 less is 0.048 of it."""
        return replace(self, value=1 - self.value, low=1 - self.high, high=1 - self.low)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Interval:
        return cls(**data)


@dataclass(frozen=True)
class Measurement:
    """`name` of `subject` in `unit`, under `conditions` (percentile, threads, prompt tokens …), found by `run`."""

    name: str
    unit: str
    subject: str
    value: Interval
    conditions: Mapping[str, Any] = field(default_factory=dict)
    run: RunId = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        return cls(**{**data, "value": Interval.from_json(data["value"])})
