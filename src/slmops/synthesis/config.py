"""What can be said about the teacher's answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from slmops.core.config import Section


class AcceptConfig(Section):
    """Which of the teacher's answers count."""

    confidence: float = Field(0.8, ge=0, le=1, description="the answer's probability must be at least this")


class SynthesisConfig(Section):
    """What the teacher answers."""

    answer: tuple[Literal["unlabelled"], ...] = Field(("unlabelled",), description="what the teacher answers")
    accept: AcceptConfig = AcceptConfig()
    augment: int = Field(1, ge=0, le=50, description="cheaply made texts for each one, labelled by the teacher")
