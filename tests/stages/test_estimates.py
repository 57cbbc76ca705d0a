"""What is told of a stage before it runs looks at the project's own model and rows."""

from __future__ import annotations

import json
from pathlib import Path

from slmops.core.pipeline import Estimate
from slmops.stages.estimates import evidence_minutes, training_estimate
from slmops.stages.project import Project
from tests.cli.test_cli import slmops
from tests.stages.tiny_project import write_project, write_rows

_BIG = {  # 1.2 billion weights
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}


def estimate(folder: Path, rows: int, sentences: int) -> Estimate:
    """Of fine-tuning a big model of which nothing but its config.json is there."""
    changes = {"task": "generation", "teacher": None, "synthesis": None, "student": "{model: 'file:big'}"}
    path = write_project(folder, **changes)
    (folder / "big").mkdir()
    (folder / "big" / "config.json").write_text(json.dumps(_BIG))
    text = "Natalia sold clips to her friends in April. "
    row = {"question": text * sentences, "answer": text * 5}
    write_rows(folder / "data" / "labelled.jsonl", [row] * rows)
    return training_estimate(Project.load(path), "student")


def test_a_plan_looks_at_the_model_and_at_the_rows(tmp_path: Path) -> None:
    for name in ("few", "many", "long"):
        (tmp_path / name).mkdir()
    few, many = estimate(tmp_path / "few", 500, 5), estimate(tmp_path / "many", 2000, 5)
    long = estimate(tmp_path / "long", 500, 40)
    assert (few.memory_mb or 0) > 10_000
    assert few.megabytes > 4 * 1236
    assert 3 < many.minutes / few.minutes < 5
    assert long.minutes > 2 * few.minutes
    assert (long.memory_mb or 0) >= (few.memory_mb or 0)


def test_evidence_takes_as_long_as_there_are_messages_to_answer(tmp_path: Path) -> None:
    def minutes(name: str, rows: int, **changes: str) -> float:
        (tmp_path / name).mkdir()
        sections: dict[str, str | None] = {"student": "{model: 'file:big'}", "teacher": None, "synthesis": None}
        path = write_project(tmp_path / name, **sections | changes)
        (tmp_path / name / "big").mkdir()
        (tmp_path / name / "big" / "config.json").write_text(json.dumps(_BIG))
        row = {"text": "Where is the parcel that I sent in April?", "label": "track", "answer": "It is late. " * 9}
        write_rows(tmp_path / name / "data" / "test.jsonl", [row] * rows)
        return evidence_minutes(Project.load(path), ["student", "int4"])

    few, many = minutes("few", 300), minutes("many", 3000)
    assert 5 < (many - 0.5) / (few - 0.5) < 15  # each model takes a moment to load
    assert minutes("written", 300, task="generation") > 2 * few


def test_a_plan_says_which_model_it_does_not_know(tmp_path: Path) -> None:
    write_project(tmp_path, teacher="hf:nobody/nothing")
    told = slmops("plan", folder=tmp_path).stdout
    assert "hf:nobody/nothing was never fetched: what it takes is told as if it were SmolLM2-135M" in told
