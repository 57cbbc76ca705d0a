"""What each ingredient of the recipe gives: the example's student without it, beside the whole.

The variants of examples/support-triage/development.yaml, judged by its 720 development messages, of which nothing is
learned; the test stays unseen. Each is one run of `slmops` with one seed, so that a difference smaller than its
interval may be chance.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.projects import artifacts, in_points, right_answers, share_right, slmops
from benchmarks.results import ROOT, Asked, Measured
from slmops.core.document import load_yaml
from slmops.core.statistics import paired_difference

_EXAMPLE = ROOT / "examples" / "support-triage"
_CONFIG: dict[str, Any] = load_yaml(_EXAMPLE / "development.yaml").data
ROWS = tuple(
    Asked(
        f"ablation-{name}", f"accuracy of the int4 student (peer: the whole recipe's): {json.dumps(changes)}", "share"
    )
    for name, changes in _CONFIG["variants"].items()
)


def measure(place: Path, wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    """The variants in turn, in one store; what decides is the paired difference of accuracy, variant minus whole."""
    shutil.copytree(_EXAMPLE / "data", place / "data", dirs_exist_ok=True)
    (place / "slmops.yaml").write_text(json.dumps(_CONFIG | {"evaluation": {"compare": ["int4"]}}))

    def right(*variant: str) -> Any:
        slmops("run", *variant, cwd=place)
        return right_answers(*artifacts(place, *variant), "int4")

    whole = right()
    for name in _CONFIG["variants"]:
        if f"ablation-{name}" in wanted:
            without = right("--variant", name)
            apart = paired_difference(without, whole, share_right, seed=0)
            accuracy, peer = (float(rows[:, 0].mean()) for rows in (without, whole))
            yield f"ablation-{name}", Measured(accuracy, apart, peer, in_points(apart))
