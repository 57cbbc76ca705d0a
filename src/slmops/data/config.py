"""The section `data`: which files, and what is held out. Reads none of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WrapValidator

from slmops.core.config import ConfigPath, Section, nearest, word_or_list, wrong
from slmops.data.sources import HUB
from slmops.privacy.find import KINDS


def _kept_if_of_hub(value: Any, absolute: Callable[[Any], Path]) -> Path:
    return Path(value) if isinstance(value, str) and value.startswith(HUB) else absolute(value)


_Rows = Annotated[ConfigPath, WrapValidator(_kept_if_of_hub)]
_Share = Annotated[float, Field(gt=0, lt=1), Tag("a share")]
_File = Annotated[_Rows, Tag("a file")]


def _share_or_file(value: object) -> str:
    return "a file" if isinstance(value, str | Path) else "a share"


def _check_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := next((kind for kind in kinds if kind not in KINDS), None):
        raise wrong(f"there is no kind {unknown!r}", nearest(unknown, KINDS))
    return kinds


_Word = Annotated[Literal["all", "none"], Tag("a word")]
_Kinds = Annotated[
    tuple[str, ...],
    BeforeValidator(tuple, json_schema_input_type=tuple[str, ...]),
    AfterValidator(_check_kinds),
    Tag("a list"),
]


class PrivacyConfig(Section):
    """What becomes of personal data in the rows."""

    main: ClassVar[str] = "mask"

    mask: Annotated[_Word | _Kinds, Discriminator(word_or_list)] = Field(
        default="none",
        description="which personal data is replaced by masks such as <EMAIL_1> as rows are read: none, all, or a list "
        f"of {', '.join(KINDS)}",
    )

    def kinds(self) -> tuple[str, ...]:
        """The kinds to mask."""
        return {"none": (), "all": tuple(KINDS)}[self.mask] if isinstance(self.mask, str) else self.mask


class DataConfig(Section):
    """Rows: a file, relative to slmops.yaml (.jsonl, .json, .csv, .tsv, .parquet, .arrow; texts with .gz or .zst, too),
    a folder of Hugging Face's datasets (folder#train), or one of its hub (hf:owner/name#train); with [:4096], the first
    4,096 of them."""

    train: _Rows = Field(description='the file of labelled rows to learn from: {"text": …, "label": …}')
    test: _Rows = Field(description="the file of labelled rows to judge by, never learned from")
    unlabelled: _Rows | None = Field(default=None, description="the file of rows for the teacher to answer")
    validation: Annotated[_Share | _File, Discriminator(_share_or_file)] = Field(
        default=0.15, description="the share of train that is held out, label by label (0.15), or a file"
    )
    max_row_bytes: int = Field(default=1_000_000, ge=100, le=100_000_000, description="the size a row may have")
    fields: dict[str, str] = Field(
        default={}, description="which column is which part, where it has no usual name: {text: body, label: kind}"
    )
    privacy: PrivacyConfig = PrivacyConfig()
    on_error: Literal["stop", "skip", "quarantine"] = Field(
        default="stop",
        description="what a row does that cannot be used: stop the run; be left out (skip); or be left out and kept "
        "with the reason in the dataset's quarantine.jsonl (quarantine)",
    )
