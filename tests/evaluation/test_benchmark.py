"""Models in processes of their own, asked alone and together."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmops.evaluation.benchmark import Subject, benchmark
from slmops.tasks.types import Record, Source

LABELS = ["refund_status", "refund", "cancel_order"]
TASK = {"name": "classification", "options": {"labels": LABELS}}
ROWS = [
    Record(str(row), {"text": text}, None, Source("test"))
    for row, text in enumerate(["Where is my order?", "The parcel came damaged", "I want to cancel it", "a refund"])
]


def test_an_answer_is_as_probable_asked_alone_as_asked_with_others(tiny_model: Path) -> None:
    """Where one label begins another, too."""
    subject = Subject("model", tiny_model, "short")
    (alone,) = benchmark([subject], ROWS, ROWS, task=TASK, threads=1)
    (together,) = benchmark([subject], ROWS, ROWS, task=TASK, threads=1, timed=0)
    assert alone.texts == together.texts
    assert alone.logprobs == pytest.approx(together.logprobs, abs=1e-3)


def test_free_answers_asked_together_tell_no_probability(tiny_model: Path) -> None:
    rows = [Record("0", {"text": "hello"}, None, Source("test"))]
    spec = {"name": "summarization", "options": {"max_tokens": 4}}
    (found,) = benchmark([Subject("model", tiny_model, "short")], rows, rows, task=spec, threads=1, timed=0)
    assert found.logprobs == (None,)
