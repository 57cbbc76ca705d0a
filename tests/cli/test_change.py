"""clean, split, augment and history, one after another, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from slmops.cli import change

APP = typer.Typer()
for command in (change.clean, change.split, change.augment, change.history):
    APP.command()(command)


def run(*arguments: object) -> Any:
    done = CliRunner().invoke(APP, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)


def test_rows_are_cleaned_divided_and_copied_and_can_be_followed_back(tmp_path: Path) -> None:
    texts = [
        f"{word} {thing} is {what}"
        for word in ("My", "Your")
        for thing in ("lamp", "order", "card")
        for what in ("late", "lost")
    ]
    rows = [{"body": f" {text}", "kind": "ab"[n % 2]} for n, text in enumerate([*texts, texts[0]])]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = ("--field", "text=body", "--field", "label=kind")

    report = run("clean", tmp_path / "raw.jsonl", "--out", tmp_path / "clean.jsonl", *named)
    assert (report["rows"], report["kept"], report["mended"]) == (13, 12, 12)

    report = run("split", tmp_path / "clean.jsonl", "--out", tmp_path, "--near", "0.95", *named)
    assert sum(report["rows"].values()) == 12 and list(report["rows"]) == ["train", "validation", "test"]

    apart = ("--apart-from", tmp_path / "test.jsonl", "--apart-from", tmp_path / "validation.jsonl")
    report = run(
        "augment", tmp_path / "train.jsonl", "--out", tmp_path / "more.jsonl", "--noise", "typos", *apart, *named
    )
    assert report["made"]["with noise: typos"] > 0

    events = run("history", tmp_path / "more.jsonl", report["rows"] + 1)
    assert [event["to"].split(":")[0] for event in events] == ["more.jsonl", "train.jsonl", "clean.jsonl"]
    assert events[-1]["came_from"].startswith("raw.jsonl:")


def test_people_get_tables(tmp_path: Path) -> None:
    (tmp_path / "raw.jsonl").write_text('{"text": "one "}\n{"text": "One!"}\n')
    done = CliRunner().invoke(APP, ["clean", str(tmp_path / "raw.jsonl"), "--out", str(tmp_path / "clean.jsonl")])
    assert "left out: the same text again" in done.stdout
    done = CliRunner().invoke(APP, ["history", str(tmp_path / "clean.jsonl"), "1"])
    assert "clean.jsonl:1 ← raw.jsonl:1" in done.stdout and "'one ' → 'one'" in done.stdout
