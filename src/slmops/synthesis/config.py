"""The section `synthesis`: what the teacher answers, and which of its answers count."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from slmops.core.config import Section, one_or_many
from slmops.core.named import Named


class AcceptConfig(Section):
    """Which of the teacher's answers are learned from."""

    main: ClassVar[str] = "confidence"

    confidence: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="the probability below which an answer is rejected: a label's; a token's, on average over a free "
        "answer",
    )


class SynthesisConfig(Section):
    """What the teacher answers."""

    answer: Annotated[tuple[Literal["unlabelled"], ...], one_or_many(Literal["unlabelled"])] = Field(
        default=("unlabelled",), min_length=1, description="the data that the teacher answers"
    )
    accept: AcceptConfig = AcceptConfig()
    augment: Literal["auto"] | Annotated[int, Field(ge=0, le=50)] = Field(
        default="auto",
        description="the number of cheaply varied texts for each text, answered by the teacher; auto: 1 where answers "
        "are a closed set, 0 where they are written, which takes long",
    )
    vary: Named | None = Field(
        default=None,
        description="a function of your own, module:name, that varies a text, instead of words that are dropped and "
        "halves that are spliced",
    )
