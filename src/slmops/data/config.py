"""The section `data`: which files, and what is held out. Reads none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from slmops.core.config import ConfigPath, Section

_Share = Annotated[float, Field(gt=0, lt=1), Tag("a share")]
_File = Annotated[ConfigPath, Tag("a file")]


def _share_or_file(value: object) -> str:
    return "a file" if isinstance(value, str | Path) else "a share"


class FieldsConfig(Section):
    """What the fields of a row are called, where it is none of the usual names."""

    text: str | None = Field(default=None, min_length=1, description="the text's field; text, message, … if absent")
    label: str | None = Field(default=None, min_length=1, description="the label's field; label, intent, … if absent")


class DataConfig(Section):
    """Files of rows, relative to slmops.yaml: .jsonl, .json, .csv, .tsv or .parquet, or these with .gz or .zst."""

    train: ConfigPath = Field(description='the file of labelled rows to learn from: {"text": …, "label": …}')
    test: ConfigPath = Field(description="the file of labelled rows to judge by, never learned from")
    unlabelled: ConfigPath | None = Field(default=None, description="the file of rows for the teacher to answer")
    validation: Annotated[_Share | _File, Discriminator(_share_or_file)] = Field(
        default=0.15, description="the share of train that is held out, label by label (0.15), or a file"
    )
    max_row_bytes: int = Field(default=1_000_000, ge=100, le=100_000_000, description="the size a row may have")
    fields: FieldsConfig = FieldsConfig()
    on_error: Literal["stop", "skip", "quarantine"] = Field(
        default="stop",
        description="what a row does that cannot be used: stop the run; be left out (skip); or be left out and kept "
        "with the reason in the dataset's quarantine.jsonl (quarantine)",
    )
