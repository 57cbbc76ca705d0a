"""Models in processes of their own, asked alone and together."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from slmops.evaluation.benchmark import Subject, benchmark
from slmops.tasks.types import Record, Source
from tests.tiny import write_model

MARKERS = ("<|im_start|>", "<|im_end|>")
LABELS = ["refund_status", "refund", "cancel_order"]
TASK = {"name": "classification", "options": {"labels": LABELS}}
ROWS = [
    Record(str(row), {"text": text}, None, Source("test"))
    for row, text in enumerate(["Where is my order?", "The parcel came damaged", "I want to cancel it", "a refund"])
]


@pytest.fixture(autouse=True)
def started_warm(warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes have their libraries loaded."""
    monkeypatch.setattr(sys, "executable", str(warm))


def test_an_answer_is_as_probable_asked_alone_as_asked_with_others(tiny_model: Path) -> None:
    """Where one label begins another, too."""
    subject = Subject("model", tiny_model, "short")
    (alone,) = benchmark([subject], ROWS, ROWS, task=TASK, threads=1)
    (together,) = benchmark([subject], ROWS, ROWS, task=TASK, threads=1, timed=0)
    (partly,) = benchmark([subject], ROWS, ROWS, task=TASK, threads=1, timed=2)  # the first one and one from the middle
    assert len(partly.timed) == 2 and partly.timed[1].text == alone.texts[len(ROWS) // 2]
    assert alone.texts == together.texts == partly.texts
    assert alone.logprobs == pytest.approx(together.logprobs, abs=1e-3)
    assert alone.logprobs == pytest.approx(partly.logprobs, abs=1e-3)


def test_time_a_token_is_measured_of_a_model_that_soon_ends(tmp_path: Path) -> None:
    write_model(tmp_path, "gpt2", MARKERS, n_embd=32, n_layer=2, n_head=2, n_positions=128)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    end = weights["transformer.wte.weight"][2]
    weights["transformer.ln_f.weight"] = torch.zeros_like(end)
    weights["transformer.ln_f.bias"] = 7 * end / end.dot(end)  # so that about every second token is the end
    save_file(weights, path, {"format": "pt"})
    (found,) = benchmark([Subject("model", tmp_path, "short")], ROWS, ROWS, task=TASK, threads=1)
    assert len(found.token_ms) == 32


def test_free_answers_asked_together_tell_no_probability(tiny_model: Path) -> None:
    rows = [Record("0", {"text": "hello"}, None, Source("test"))]
    spec = {"name": "summarization", "options": {"max_tokens": 4}}
    (found,) = benchmark([Subject("model", tiny_model, "short")], rows, rows, task=spec, threads=1, timed=0)
    assert found.logprobs == (None,)
