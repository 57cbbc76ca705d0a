"""What can be said about the user's data."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from slmops.core.config import Section


class DataConfig(Section):
    """Files of JSON lines, relative to slmops.yaml."""

    train: Path = Field(description="labelled rows to learn from")
    test: Path = Field(description="labelled rows to judge by, never learned from")
    unlabelled: Path | None = Field(None, description="rows for the teacher to answer")
    validation: float | Path = Field(0.15, description="share of train held out (stratified), or a file")
    max_row_bytes: int = Field(1_000_000, ge=100, description="a longer row is refused")
