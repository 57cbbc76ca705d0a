"""`slmops data check` as it is called: fields, page, tokens, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from slmops.cli import data
from slmops.core.errors import ConfigError

APP = typer.Typer()
data.register(APP)

ROWS = "".join(
    json.dumps({"title": "x", "body": f"where is my parcel number {n}", "queue": "ab"[n % 2]}) + "\n" for n in range(30)
)


def check(*arguments: str) -> Result:
    return CliRunner().invoke(APP, ["data", "check", *arguments])


@pytest.fixture
def tickets(tmp_path: Path) -> str:
    path = tmp_path / "tickets.jsonl"
    path.write_text(ROWS)
    return str(path)


def test_columns_are_named_and_told(tickets: str) -> None:
    done = check(tickets, "--field", "text=body", "--field", "label=queue", "--no-label-errors")
    assert done.exit_code == 0, done.output
    assert "read as text + label (text: body, label: queue)" in done.output
    assert "labels were not doubted: as was asked" in done.output


def test_a_field_of_another_form_is_explained(tickets: str) -> None:
    error = check(tickets, "--field", "body").exception
    assert isinstance(error, ConfigError) and "expected PART=COLUMN" in str(error)


def test_the_page_and_json_come_from_the_same_report(tickets: str, tmp_path: Path) -> None:
    page = tmp_path / "check.html"
    done = check(tickets, "--field", "text=body", "--html", str(page), "--json")
    report = json.loads(done.stdout)
    assert report["files"][0]["columns"] == {"text": "body"}
    assert report["similar"][0]["left_text"] == "where is my parcel number 0"
    assert page.read_text().count("where is my parcel number") == 2 * len(report["similar"])


def test_lengths_are_counted_in_tokens_of_a_model(tickets: str, tiny_model: Path) -> None:
    words, tokens = (
        json.loads(check(tickets, "--field", "text=body", "--json", *more).stdout)["files"][0]["lengths"]
        for more in ((), ("--tokenizer", f"file:{tiny_model}"))
    )
    assert (words["unit"], tokens["unit"]) == ("words", "tokens")
    assert tokens["most"] > words["most"]
