"""The section `data`: which files, and what is held out. Reads none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Discriminator, Field, Tag

from slmops.core.config import ConfigPath, Section

_Share = Annotated[float, Field(gt=0, lt=1), Tag("a share")]
_File = Annotated[ConfigPath, Tag("a file")]


def _share_or_file(value: object) -> str:
    return "a file" if isinstance(value, str | Path) else "a share"


class DataConfig(Section):
    """Files of JSON lines, relative to slmops.yaml."""

    train: ConfigPath = Field(description='the file of labelled rows to learn from: {"text": …, "label": …}')
    test: ConfigPath = Field(description="the file of labelled rows to judge by, never learned from")
    unlabelled: ConfigPath | None = Field(default=None, description="the file of rows for the teacher to answer")
    validation: Annotated[_Share | _File, Discriminator(_share_or_file)] = Field(
        default=0.15, description="the share of train that is held out, label by label (0.15), or a file"
    )
    max_row_bytes: int = Field(default=1_000_000, ge=100, le=100_000_000, description="the size a row may have")
