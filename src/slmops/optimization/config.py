"""The section `optimization`: what the student is converted into."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from slmops.core.config import Name, Section, wrong

Precision = Literal["fp32", "int8", "int4"]


def _precision(validated: dict[str, Any]) -> Any:
    return validated["precision"]


class OptimizationConfig(Section):
    """One conversion of the student, made by a stage of its name."""

    main: ClassVar[str] = "precision"

    precision: Precision = Field(default="int4", description="the number format of the weights")
    name: Name = Field(default_factory=_precision, description="what it is called; its precision unless given")
    target: Literal["onnx"] = Field(default="onnx", description="the format: onnx, for ONNX Runtime GenAI")
    block_size: Literal[16, 32, 64, 128, 256] = Field(default=32, description="how many weights share a scale")
    symmetric: bool = Field(default=True, description="true: no zero point is stored")

    @model_validator(mode="after")
    def _rounds(self) -> OptimizationConfig:
        given = [name for name in ("block_size", "symmetric") if name in self.model_fields_set]
        if self.precision == "fp32" and given:
            raise wrong(f"{given[0]} is for int8 and int4: fp32 rounds nothing", f"remove {given[0]}")
        return self
