"""What can be said about shipping."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from slmops.core.config import Section


class DeploymentConfig(Section):
    """One target of the shipped model."""

    main: ClassVar[str] = "target"

    target: Literal["foundry-local"] = Field("foundry-local", description="what will run the model")
    name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$|^$",
        description="the model's name there; the project's unless given",
    )
    version: int = Field(1, ge=1, description="of the model there")
