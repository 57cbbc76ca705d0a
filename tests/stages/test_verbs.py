"""What the verbs do with what a user types."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from slmops.core.errors import DataError
from slmops.models.folder import Card, write_card
from slmops.stages.verbs import ask


def test_a_model_that_is_asked_with_more_than_a_text_says_so(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    options = {"labels": ["refund", "track"], "template": "{subject}: {text}"}
    write_card(folder, Card({"name": "classification", "options": options}, "short", "CC0-1.0"))
    with pytest.raises(DataError, match="asked with 'subject', too") as caught:
        ask(f"file:{folder}", "where is it?")
    assert """'{"text": "…", "subject": "…"}'""" in caught.value.remedy
    assert ask(f"file:{folder}", '{"text": "where is it?", "subject": "parcel"}').text in options["labels"]
