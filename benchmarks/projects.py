"""A project as its user runs it, by the command, and what it says of itself, for benchmarks of whole projects.

In come a project's folder and words of the command line; out come what it printed, its artifacts, and figures as the
report's JSON has them. Knows no data and no row.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import SLMOPS
from slmops.core.measurement import Interval
from slmops.core.store import Store


def slmops(*arguments: str, cwd: Path) -> str:
    """What the command prints; it must end well."""
    return subprocess.run([SLMOPS, *arguments], cwd=cwd, stdout=subprocess.PIPE, text=True, check=True).stdout


def artifacts(place: Path, *variant: str) -> tuple[Store, Mapping[str, str]]:
    """The project's store, and what was made last for each stage."""
    made = {step["stage"]: step["artifact"] for step in json.loads(slmops("status", "--json", *variant, cwd=place))}
    return Store(place / ".slmops" / "store"), made


def value_of(figure: Mapping[str, Any]) -> float:
    """A figure of the report, without its interval."""
    return Interval.from_json(figure).value
