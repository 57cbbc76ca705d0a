"""What can be said about making a model smaller."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from slmops.core.config import Section

Precision = Literal["fp32", "int8", "int4"]


class OptimizationConfig(Section):
    """One conversion of the student. The name is the precision unless given."""

    main: ClassVar[str] = "precision"

    precision: Precision = Field("int4", description="of the weights")
    name: str = Field("", pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$", description="of the stage that makes it")
    target: Literal["onnx"] = Field("onnx", description="the format")
    block_size: Literal[16, 32, 64, 128, 256] = Field(32, description="weights that share a scale")
    symmetric: bool = Field(True, description="no zero point")

    @model_validator(mode="before")
    @classmethod
    def _name(cls, value: Any) -> Any:
        value = value if isinstance(value, dict) else {"precision": value}
        return {"name": value.get("precision", "int4"), **value}
