"""Each public set is divided so that nothing learned is measured, and gives its rows in any order of sorting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import public, tasks
from slmops.core.errors import DataError
from slmops.stages.project import Project


def write_set(folder: Path, train: list[dict[str, Any]], test: list[dict[str, Any]]) -> None:
    (folder / "sick").mkdir()
    for part, rows in (("train", train), ("test", test)):
        (folder / "sick" / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def row(number: int, label: str = "neutral") -> dict[str, Any]:
    return {"premise": f"A dog {number} runs", "hypothesis": f"An animal {number} moves", "label": label}


def test_a_project_is_one_that_runs_and_shares_no_row_with_its_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "DATA", tmp_path)
    write_set(tmp_path, [row(number) for number in range(30)], [row(number) for number in range(20, 40)])
    one = tasks.PublicSet("sick", {"type": "inference"}, 15, 10, 1)
    project = tmp_path / "project"
    project.mkdir()
    tasks._write_project(project, one)
    train, test = ((project / f"{part}.jsonl").read_text().splitlines() for part in ("train", "test"))
    assert len(train) == 15 and len(test) == 10 and not {*train} & {*test}
    assert Project.load(project / "slmops.yaml").student.prompt == "full"


def test_no_two_rows_have_one_id_and_every_set_has_its_minutes() -> None:
    ids = [asked.id for group in tasks.groups() for asked in group.asked]
    assert len(ids) == len(set(ids)) and sum(id.endswith("-minutes") for id in ids) == len(tasks.SETS) == 7


def test_a_missing_set_is_named_with_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "DATA", tmp_path)
    with pytest.raises(DataError, match=r"GSM8K, github.com/openai/grade-school-math: question, answer"):
        public.read_public("gsm8k", "train")
