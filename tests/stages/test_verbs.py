"""What the verbs do with what a user types."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from slmops.core.errors import DataError
from slmops.data.config import DataConfig
from slmops.models.folder import Card, write_card
from slmops.stages.verbs import ask, evaluate
from tests.stages.tiny_project import LABELS, write_rows


def test_a_model_that_is_asked_with_more_than_a_text_says_so(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    options = {"labels": ["refund", "track"], "template": "{subject}: {text}"}
    write_card(folder, Card({"name": "classification", "options": options}, "short", "CC0-1.0"))
    with pytest.raises(DataError, match="asked with 'subject', too") as caught:
        ask(f"file:{folder}", "where is it?")
    assert """'{"text": "…", "subject": "…"}'""" in caught.value.remedy
    assert ask(f"file:{folder}", '{"text": "where is it?", "subject": "parcel"}').text in options["labels"]


def test_rows_are_read_as_the_project_reads_them(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    write_card(folder, Card({"name": "classification", "options": {"labels": list(LABELS)}}, "short", "CC0-1.0"))
    rows = [{"body": f"the {word} of ann{word}@example.com", "queue": label} for label, (word, *_) in LABELS.items()]
    usual = [{"text": row["body"], "label": row["queue"]} for row in rows]
    for name, some in (("train", rows), ("test", rows), ("usual", usual)):
        write_rows(tmp_path / f"{name}.jsonl", some)
    fields, mask = {"text": "body", "label": "queue"}, {"mask": ["email"]}
    data = {"train": tmp_path / "train.jsonl", "test": tmp_path / "test.jsonl", "fields": fields, "privacy": mask}
    reading = DataConfig.model_validate(data)

    of_project = evaluate(f"file:{folder}", tmp_path / "test.jsonl", reading=reading).figures
    assert of_project == evaluate(f"file:{folder}", tmp_path / "usual.jsonl", reading=reading).figures
    assert evaluate(f"file:{folder}", tmp_path / "test.jsonl", fields=fields).rows == 3
    with pytest.raises(DataError, match=r"found the fields \['body', 'queue'\], expected 'text'"):
        evaluate(f"file:{folder}", tmp_path / "test.jsonl")
