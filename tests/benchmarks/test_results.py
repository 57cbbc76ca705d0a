"""A benchmark's rows are kept one by one, good and bad."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.results import Asked, Group, Measured, Results, Target, of_one, to_row

from benchmarks import results
from slmops.core.measurement import Interval

FAST = Asked("fast", "how fast", "/s", Target("≥ 6 ×", "at least", 6))
SMALL = Asked("small", "how small", "MB")


def measure_both(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    yield "fast", Measured(12.0, Interval(6.0, 5.5, 6.5, n=3), peer=2.0)
    yield "small", of_one(35.0)


def fail_after_the_first(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    yield "fast", of_one(7.0)
    raise OSError("no more disk")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    return tmp_path


def run(*groups: Group, again: bool = False, only: list[str] | None = None) -> int:
    return results.run("some", groups, argparse.Namespace(again=again, only=only))


def test_a_row_says_what_the_contract_asks(folder: Path) -> None:
    assert run(Group((FAST, SMALL), measure_both)) == 0
    kept = json.loads((folder / "some.json").read_text())
    assert set(kept) == {"commit", "machine", "versions", "command", "date", "rows"}
    assert kept["rows"][0] == {
        "id": "fast",
        "what": "how fast",
        "ours": 12.0,
        "peer": 2.0,
        "ratio": 6.0,
        "unit": "/s",
        "low": 5.5,
        "high": 6.5,
        "n": 3,
        "target": "≥ 6 ×",
        "holds": True,
        "commit": kept["commit"],
        "date": kept["rows"][0]["date"],
        "machine": kept["rows"][0]["machine"],
    }
    assert kept["rows"][0]["machine"].startswith(kept["machine"]["cpu"])
    assert kept["rows"][0]["date"] <= kept["rows"][1]["date"] == kept["date"]  # the file's is that of the newest row
    assert kept["rows"][1]["target"] is None and kept["rows"][1]["holds"] is None


def test_what_was_measured_is_not_measured_again_unless_asked(folder: Path) -> None:
    calls: list[frozenset[str]] = []

    def count(wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
        calls.append(wanted)
        yield from measure_both(wanted)

    run(Group((FAST, SMALL), count), only=["small"])
    run(Group((FAST, SMALL), count))
    run(Group((FAST, SMALL), count))
    run(Group((FAST, SMALL), count), again=True)
    assert calls == [frozenset({"small"}), frozenset({"fast"}), frozenset({"fast", "small"})]
    assert [row["id"] for row in json.loads((folder / "some.json").read_text())["rows"]] == ["fast", "small"]


def test_a_row_that_fails_is_there_and_does_not_hold_and_is_tried_again(folder: Path) -> None:
    last_group = Group((Asked("last", "", ""),), lambda wanted: [("last", of_one(1))])
    assert run(Group((FAST, SMALL), fail_after_the_first), last_group) == 1
    fast, small, last = json.loads((folder / "some.json").read_text())["rows"]
    assert (fast["holds"], small["holds"], last["ours"]) == (True, False, 1)
    assert small["ours"] is None and "no more disk" in small["what"]
    assert run(Group((FAST, SMALL), measure_both), only=["small"]) == 0
    assert json.loads((folder / "some.json").read_text())["rows"][1]["ours"] == 35.0


def test_rows_of_another_commit_stay_until_they_are_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    Results(path, "one", "python").add(to_row(SMALL, of_one(35.0)), [FAST, SMALL])
    assert Results(path, "one", "python").has("small")
    assert not Results(path, "two", "python").has("small")
    Results(path, "two", "python").add(to_row(FAST, of_one(7.0)), [FAST, SMALL])
    assert [(row["id"], row["commit"]) for row in json.loads(path.read_text())["rows"]] == [
        ("fast", "two"),
        ("small", "one"),
    ]


def test_rows_not_tried_yet_stand_there_and_those_of_other_machines_stay(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    Results(path, "one", "python").add(to_row(Asked("elsewhere", "", ""), of_one(1.0)), [FAST])
    fast, elsewhere = json.loads(path.read_text())["rows"]
    assert (fast["id"], fast["ours"], fast["holds"], fast["commit"]) == ("fast", None, False, "")
    assert (elsewhere["id"], elsewhere["ours"]) == ("elsewhere", 1.0)
    assert not Results(path, "one", "python").has("fast")


def test_a_spoiled_row_does_not_hold_however_good_its_figure() -> None:
    row = to_row(FAST, of_one(9.0, spoiled="2 skipped"))
    assert row.holds is False and row.what.endswith("2 skipped")


def test_an_unknown_row_is_refused(folder: Path) -> None:
    with pytest.raises(SystemExit, match="choose of fast, small"):
        run(Group((FAST, SMALL), measure_both), only=["fats"])


@pytest.mark.parametrize(
    ("bound", "held"),
    [
        ("at least", (False, True, True)),
        ("at most", (True, True, False)),
        ("under", (True, False, False)),
        ("above", (False, False, True)),
        ("exactly", (False, True, False)),
    ],
)
def test_a_bound_means_what_it_says(bound: results.Bound, held: tuple[bool, ...]) -> None:
    target = Target("", bound, 1.0)
    assert tuple(target.holds(value) for value in (0.9, 1.0, 1.1)) == held
