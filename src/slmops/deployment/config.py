"""The section `deployment`: where the shipped model goes."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from slmops.core.config import Name, Section


class DeploymentConfig(Section):
    """One place for the shipped model."""

    main: ClassVar[str] = "target"

    target: Literal["foundry-local"] = Field(default="foundry-local", description="what runs it")
    name: Name | None = Field(default=None, description="what it is called there; the project's name unless given")
    version: int = Field(default=1, ge=1, le=999_999_999, description="its version there")
