"""Rows of a benchmark: asked for, measured one after another, kept in benchmarks/results/NAME.json, shown as a table.

In come groups of rows with the function that measures them; out goes the file, written whole after every row, so that
a killed benchmark goes on where it was. A row stays until it is measured anew, with the commit it was measured at.
Knows nothing of what is measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slmops.core.files import write_whole
from slmops.core.machine import describe_machine, describe_versions
from slmops.core.measurement import Interval

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SLMOPS = str(Path(sys.executable).with_name("slmops"))  # as a user runs it

_TABLE_WIDTH = 160

Bound = Literal["at least", "at most", "under", "above", "exactly"]


@dataclass(frozen=True)
class Row:
    """What was measured. `ratio` is ours / peer; `low` and `high` bound what the target speaks of: the ratio, or `ours`
    where it names an amount. `target` is the issue's own words, None where it only asks to report; `commit`, `date` and
    `machine` say what was measured, when and on what."""

    id: str
    what: str
    ours: float | None
    peer: float | None
    ratio: float | None
    unit: str
    low: float | None
    high: float | None
    n: int
    target: str | None
    holds: bool | None
    commit: str = ""
    date: str = ""
    machine: str = ""


@dataclass(frozen=True)
class Target:
    """A goal in the issue's own words, and the bound that decides it."""

    words: str
    bound: Bound
    limit: float

    def holds(self, value: float) -> bool:
        match self.bound:
            case "at least":
                return value >= self.limit
            case "at most":
                return value <= self.limit
            case "under":
                return value < self.limit
            case "above":
                return value > self.limit
            case "exactly":
                return value == self.limit


@dataclass(frozen=True)
class Asked:
    """A row that is to be measured."""

    id: str
    what: str
    unit: str
    target: Target | None = None


@dataclass(frozen=True)
class Measured:
    """A row's figures. `decides` is the interval of what the target speaks of. `spoiled` says why the row does not hold
    whatever its figure (tests were skipped, a stage ran again); `note` is added to what was measured."""

    ours: float
    decides: Interval
    peer: float | None = None
    note: str = ""
    spoiled: str = ""


@dataclass(frozen=True)
class Group:
    """Rows that are measured together: `measure` gets the ids wanted and yields (id, figures) as they are ready."""

    asked: tuple[Asked, ...]
    measure: Callable[[frozenset[str]], Iterable[tuple[str, Measured]]]


def of_one(value: float, peer: float | None = None, *, note: str = "", spoiled: str = "") -> Measured:
    """A figure that was measured once, without an interval."""
    return Measured(value, Interval.exact(value if peer is None else value / peer), peer, note, spoiled)


def low_end(interval: Interval) -> Interval:
    """Where the lower end decides."""
    return replace(interval, value=interval.low)


def high_end(interval: Interval) -> Interval:
    """Where the upper end decides."""
    return replace(interval, value=interval.high)


def to_row(asked: Asked, found: Measured | None, failure: str = "") -> Row:
    """The row as it is kept; a row that could not be measured has no figures and does not hold."""
    words = asked.target.words if asked.target else None
    if found is None:
        what = f"{asked.what} — not measured: {failure}"
        return Row(asked.id, what, None, None, None, asked.unit, None, None, 0, words, False)
    what = " — ".join(part for part in (asked.what, found.note, found.spoiled) if part)
    ratio = found.ours / found.peer if found.peer else None
    holds = asked.target.holds(found.decides.value) and not found.spoiled if asked.target else None
    low, high, n = found.decides.low, found.decides.high, found.decides.n
    return Row(asked.id, what, found.ours, found.peer, ratio, asked.unit, low, high, n, words, holds)


class Results:
    """The rows in `path`, of this commit and of those before."""

    def __init__(self, path: Path, commit: str, command: str) -> None:
        self._path, self._commit, self._command = path, commit, command
        kept = json.loads(path.read_text())["rows"] if path.is_file() else []
        self.rows: dict[str, Row] = {row["id"]: Row(**row) for row in kept}

    def has(self, id: str) -> bool:
        """Whether the row was measured at this commit; a failed attempt does not count."""
        return id in self.rows and self.rows[id].commit == self._commit and self.rows[id].ours is not None

    def add(self, row: Row, asked: Sequence[Asked]) -> None:
        """Keeps the row. All that are asked for stand in their order, whenever they were measured, or not yet; behind
        them those that are asked for on other machines."""
        now, machine = datetime.now(UTC).isoformat(timespec="seconds"), describe_machine()
        told = f"{machine['cpu']}, {' '.join(machine['extensions'])}, {machine['cores']} cores"
        self.rows[row.id] = replace(row, commit=self._commit, date=now, machine=told)
        known = [self.rows.get(one.id) or to_row(one, None, "not tried yet") for one in asked]
        known += [kept for id, kept in self.rows.items() if id not in {one.id for one in asked}]
        content: dict[str, Any] = {
            "commit": self._commit,
            "machine": machine,
            "versions": describe_versions(),
            "command": self._command,
            "date": now,
            "rows": [asdict(row) for row in known],
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def run(name: str, groups: Sequence[Group], arguments: argparse.Namespace) -> int:
    """Measures what is lacking and prints the table; 1 where a row could not be measured."""
    every = [asked for group in groups for asked in group.asked]
    order = [asked.id for asked in every]
    if arguments.only and (unknown := set(arguments.only) - set(order)):
        raise SystemExit(f"there is no row {', '.join(sorted(unknown))}; choose of {', '.join(order)}")
    command = " ".join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]])
    results = Results(RESULTS / f"{name}.json", describe_commit(), command)
    for group in groups:
        wanted = [asked for asked in group.asked if not arguments.only or asked.id in arguments.only]
        lacking = [asked for asked in wanted if arguments.again or not results.has(asked.id)]
        if lacking:
            for row in measure(group, lacking):
                results.add(row, every)
                print(f"{row.id}: {_figure(row)}", flush=True)
    print_rows([results.rows[id] for id in order if id in results.rows], title=name)
    return int(not all(results.has(id) for id in arguments.only or order))


def measure(group: Group, lacking: Sequence[Asked]) -> Iterator[Row]:
    """A row for each that is lacking, measured or failed."""
    waiting = {asked.id: asked for asked in lacking}
    failure = "its benchmark yielded no figure"
    try:
        for id, found in group.measure(frozenset(waiting)):
            if id in waiting:
                yield to_row(waiting.pop(id), found)
    except Exception as error:  # noqa: BLE001  whatever fails, the other rows are still to be measured
        traceback.print_exc()
        failure = f"{type(error).__name__}: {error}"[:300]
    for asked in waiting.values():
        yield to_row(asked, None, failure)


def parser(description: str) -> argparse.ArgumentParser:
    """What every benchmark can be told."""
    parsed = argparse.ArgumentParser(description=description)
    parsed.add_argument("--again", action="store_true", help="measure rows that this commit has already")
    parsed.add_argument("--only", action="append", metavar="ID", help="only this row (may be given again)")
    return parsed


def describe_commit() -> str:
    """The newest commit that changed anything but results, and `+changes` where files differ from it."""
    others = ["--", ".", ":!benchmarks/results"]
    commit = _git("log", "-1", "--format=%H", *others)
    return commit + ("+changes" if _git("status", "--porcelain", *others) else "")


def print_rows(rows: Iterable[Row], title: str | None = None) -> None:
    """A table for people."""
    table = Table(title=title, title_justify="left")
    for column in ("id", "what", "target"):
        table.add_column(column, overflow="fold")
    for column in ("ours", "peer", "ratio", "interval", "n", "holds"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        interval = "" if row.low is None or row.low == row.high else f"{_write(row.low)} … {_write(row.high)}"
        holds = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[row.holds]
        id = f"{row.id} [dim]at {row.commit[:7]}[/]" if row.commit else row.id
        figures = (_figure(row), _write(row.peer), _write(row.ratio), interval, str(row.n), holds)
        table.add_row(id, escape(row.what), row.target or "", *figures)
    Console(width=max(Console().width, _TABLE_WIDTH)).print(table)


def _figure(row: Row) -> str:
    return "not measured" if row.ours is None else f"{_write(row.ours)} {row.unit}".strip()


def _write(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
