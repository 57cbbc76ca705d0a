"""What each ingredient of the recipe gives: the example's student without it, beside the whole.

The example's task, judged by its 720 development messages, of which nothing is learned; the test stays unseen. All
students have the same teacher, where they have one, and as many steps. Each is one run of `slmops` with one seed, so
that a difference smaller than its interval may be chance.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.projects import artifacts, right_answers, share_right, slmops
from benchmarks.results import ROOT, Asked, Measured
from slmops.core.statistics import paired_difference

_EXAMPLE = ROOT / "examples" / "support-triage"
_COMPARED = {"evaluation": {"compare": ["int4"]}}
_ARMS = {
    "no-teacher": "learns from labels alone, cut from the model as it comes",
    "untaught": "cut from the model as it comes, not from the tuned teacher",
    "answers": "of unlabelled messages the teacher's likeliest answer, not probabilities",
    "no-baseline": "the classical baseline is not heard",
    "spread-layers": "every fourth layer, not the lower eight",
    "all-layers-learn": "the lower layers learn, too",
    "one-target": "the answer is learned at its own place only",
    "rounded-afterwards": "int4 comes after learning",
    "long-prompt": "asked with the teacher's instruction",
    "fewer-tokens": "8,192 tokens, not 49,152",
    "twelve-layers": "twelve layers and 8,192 tokens",
    "no-unlabelled": "no unlabelled messages",
}
ROWS = tuple(
    Asked(f"ablation-{arm}", f"accuracy of the int4 student (peer: the whole recipe's) where: {words}", "share")
    for arm, words in _ARMS.items()
)


def measure(place: Path, wanted: frozenset[str]) -> Iterator[tuple[str, Measured]]:
    """The arms in turn, in one store; what decides is the paired difference of accuracy, arm minus whole."""
    shutil.copytree(_EXAMPLE / "data", place / "data", dirs_exist_ok=True)
    config = yaml.safe_load((_EXAMPLE / "development.yaml").read_text()) | _COMPARED
    (place / "slmops.yaml").write_text(json.dumps(config | {"variants": {}}))
    slmops("run", cwd=place)
    store, whole = artifacts(place)
    rows = {one.subject: one.value.value for one in store.manifest(whole["targets"]).measurements if one.name == "rows"}
    gold = sum(1 for _ in (store.open(whole["dataset"]) / "train.jsonl").open())
    variants = _variants(epochs=3 * sum(rows.values()) / gold)
    (place / "slmops.yaml").write_text(json.dumps(config | {"variants": variants}))
    best = right_answers(store, whole, "int4")
    for arm in _ARMS:
        if f"ablation-{arm}" in wanted:
            slmops("run", "--variant", arm, cwd=place)
            right = right_answers(store, artifacts(place, "--variant", arm)[1], "int4")
            apart = paired_difference(right, best, share_right, seed=0)
            note = f"{100 * apart.value:+.1f} points ({100 * apart.low:+.1f} … {100 * apart.high:+.1f})"
            yield f"ablation-{arm}", Measured(right[:, 0].mean(), apart, best[:, 0].mean(), note)


def _variants(epochs: float) -> dict[str, dict[str, Any]]:
    """What each arm changes; who has labelled rows alone sees them `epochs` times, which takes as many steps."""
    ready = {"from": None, "model": "smollm2-135m-instruct", "layers": 8}
    longer = {"train": {"epochs": epochs}}
    return {
        "no-teacher": {"teacher": None, "data": {"unlabelled": None}, "student": ready | longer},
        "untaught": {"student": ready},
        "answers": {"distillation": {"match": "answers"}},
        "no-baseline": {"distillation": {"classical": 0}},
        "spread-layers": {"student": {"keep": "spread"}},
        "all-layers-learn": {"student": {"train": {"upper_layers": 1}}},
        "one-target": {"student": {"train": {"target_replication": 0}}},
        "rounded-afterwards": {"student": {"train": {"quantization_aware": 0}}},
        "long-prompt": {"student": {"prompt": "full"}},
        "fewer-tokens": {"student": {"vocabulary": 8192}},
        "twelve-layers": {"student": {"layers": 12, "vocabulary": 8192}},
        "no-unlabelled": {"data": {"unlabelled": None}, "student": longer},
    }
