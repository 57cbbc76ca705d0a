"""`make bench` asks for every figure of the issue, and reads the demo's own report as it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.clone import Clone
from benchmarks.results import Group, measure, to_row

from benchmarks import main
from slmops.core.artifact import Manifest, Run
from tests.evaluation.example import make_summary

REPORT = make_summary().to_json()


def made(started: str, seconds: float, run: str = "one") -> Manifest:
    return Manifest("", "", "", {}, {}, Run(run, "", 7, {}, {}, started, seconds))


def test_the_report_answers_every_row_of_the_evidence() -> None:
    found = dict(main.read_evidence(REPORT))
    assert [*found] == [asked.id for asked in main.EVIDENCE]
    rows = {asked.id: to_row(asked, found[asked.id]) for asked in main.EVIDENCE}
    assert rows["accuracy_kept"].holds and rows["latency"].holds and rows["model_bytes"].holds
    latency, against_int4 = found["latency"].decides, found["latency_int4"].decides
    assert latency.low < latency.value < latency.high < 0.06 and latency.value < against_int4.value
    assert rows["latency_int4"].holds is None


def test_a_bundle_that_was_never_asked_leaves_the_other_rows() -> None:
    group = Group(main.EVIDENCE, lambda wanted: main.read_evidence(REPORT | {"foundry_local": None}))
    rows = {row.id: row for row in measure(group, group.asked)}
    assert rows["memory_int4"].ours and rows["foundry_same"].ours is None


def test_the_pipelines_time_runs_from_its_first_stage_to_its_last() -> None:
    stages = {"a": made("2026-01-01T00:00:10+00:00", 5), "b": made("2026-01-01T00:00:20+00:00", 7.5)}
    assert main.pipeline_seconds(stages) == 17.5


def test_what_a_second_run_made_again_is_named() -> None:
    before = {"a": made("2026-01-01T00:00:10+00:00", 5), "b": made("2026-01-01T00:00:20+00:00", 7.5)}
    after = before | {"b": replace(before["b"], made_by=replace(before["b"].made_by, id="two"))}
    assert main._made_again(before, before) == []
    assert main._made_again(before, after) == ["b"]


def test_skipped_tests_are_counted() -> None:
    said = "All checks passed!\n....s\n203 passed, 1 skipped, 2 deselected, 3 warnings in 61.20s (0:01:01)\n"
    assert main.count_tests(said) == (203, 3)
    assert main.count_tests("12 passed in 3.1s") == (12, 0)


def test_no_two_rows_have_one_id() -> None:
    ids = [asked.id for group in main.groups(Path("place"), keep_pip_cache=True) for asked in group.asked]
    assert len(set(ids)) == len(ids)


def test_a_newcomer_has_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLMOPS_CACHE", "/ours")
    monkeypatch.setenv("MAKEFLAGS", "-j2")
    environment = Clone(tmp_path / "slmops", tmp_path / "home", keep_pip_cache=False).environment()
    assert environment["HOME"] == str(tmp_path / "home")
    assert environment["PIP_CACHE_DIR"].startswith(str(tmp_path))
    assert not {"SLMOPS_CACHE", "MAKEFLAGS", "VIRTUAL_ENV"} & set(environment)
