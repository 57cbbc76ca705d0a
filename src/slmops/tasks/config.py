"""What can be said about the task."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from slmops.core.config import Section


class TaskConfig(Section):
    """What the model is to do."""

    main: ClassVar[str] = "type"

    type: Literal["classification"] = Field("classification", description="the kind of task")
    labels: Literal["from-data"] | tuple[str, ...] = Field("from-data", description="the closed set of answers")
    instruction: str | None = Field(None, max_length=20_000, description="replaces the built-in instruction")
