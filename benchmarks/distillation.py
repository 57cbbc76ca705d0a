"""What the parts of distillation give, each measured alone: `make bench-distillation`, goes on row by row.

Ten labels an intent: few_labels.py. All 150 intents: all_intents.py. Losses where answers are written: written.py.
Extraction by a small student: buses.py. TRL's DistillationTrainer beside ours: beside_distillation.py. The recipe
without each of its parts: ablation.py. The vocabulary: the headline's student with all of its teacher's tokens, beside
the one that has the domain's. The cache: DialogSum's summaries by a tuned teacher, in 64 bytes a token, the likeliest
beside drawn ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import ablation, all_intents, beside_distillation, buses, few_labels, headline, written
from benchmarks.projects import artifacts, in_points, right_answers, share_right, slmops, write_jsonl
from benchmarks.public import read_public
from benchmarks.results import ROOT, Asked, Group, Measured, Target, describe_commit, high_end, of_one, parser, run
from slmops.core.measurement import Interval
from slmops.core.statistics import paired_difference
from slmops.core.store import Store
from slmops.models.folder import weight_files
from slmops.stages.certificate import read_certificates
from slmops.stages.project import Project
from slmops.stages.run import run as run_project

_ALL = {"student": {"from": "teacher", "layers": 6, "vocabulary": "all"}}
VOCABULARY = (
    Asked(
        "vocabulary-bytes",
        "bytes that the 6-layer int4 student loses with the tokens of other domains",
        "share",
        Target("≥ 40 % of the 6-layer student's bytes", "at least", 0.4),
    ),
    Asked(
        "vocabulary-of-teacher",
        "those of the whole model as int4 that are tokens of other domains",
        "share",
        Target("≥ 17 % of the full model's", "at least", 0.17),
    ),
    Asked(
        "vocabulary-accuracy",
        "accuracy with the domain's tokens (peer: with all); decides: the upper end of the difference",
        "share",
        Target("no loss on the domain (paired test)", "at least", 0),
    ),
)
_BYTES = Target("≤ 64 bytes a target token at k = 16", "at most", 64)
CACHE = (
    Asked("cache-bytes", "the cache at k = 16", "bytes a target", _BYTES),
    Asked("cache-error", "error of gradients at k = 16, the likeliest (peer: drawn, in as many bytes)", "share"),
    Asked("cache-bias", "bias of gradients at k = 16, the likeliest (peer: drawn, in as many bytes)", "share"),
)
_ROWS, _TEST = 200, 20
DIALOGSUM: dict[str, Any] = {
    "name": "dialogsum",
    "task": {"type": "summarization", "max_tokens": 80},
    "data": {"train": "train.jsonl", "test": "test.jsonl"},
    "teacher": {"model": "smollm2-135m-instruct", "train": {"epochs": 1}},
    "student": {"from": "teacher", "layers": 12},
    "distillation": {"match": "tokens", "cache": {"top_k": 16}, "loss": {"forward_kl": 1.0}},
}


def main() -> int:
    place = ROOT / "build" / "bench" / describe_commit()[:12]
    groups = [
        Group(CACHE, lambda wanted: measure_cache(place / "dialogsum")),
        Group(few_labels.ROWS, lambda wanted: few_labels.measure(place / "few-labels")),
        Group(buses.ROWS, lambda wanted: buses.measure(place / "buses")),
        Group(all_intents.ROWS, lambda wanted: all_intents.measure(place / "all-intents")),
        Group(beside_distillation.ROWS, lambda wanted: beside_distillation.measure(place / "beside-trl")),
        Group(written.ROWS, lambda wanted: written.measure(place / "written", wanted)),
        Group(ablation.ROWS, lambda wanted: ablation.measure(place / "ablation", wanted)),
        Group(VOCABULARY, lambda wanted: measure_vocabulary(place / "headline")),
    ]
    return run("distillation", groups, parser(__doc__.splitlines()[0]).parse_args())


def measure_vocabulary(place: Path) -> Iterator[tuple[str, Measured]]:
    """The headline's project, and the same with all tokens; both stand in one store."""
    config = {"variants": {"all-tokens": _ALL}}
    headline.write_project(place, config)
    slmops("run", cwd=place)
    slmops("run", "--variant", "all-tokens", cwd=place)
    few, many = artifacts(place), artifacts(place, "--variant", "all-tokens")
    sizes = {name: _bytes(*of, "int4") for name, of in (("few", few), ("many", many))}
    whole = _bytes(*few, "teacher_int4")
    gone = sizes["many"] - sizes["few"]
    yield "vocabulary-bytes", of_one(gone / sizes["many"])
    yield "vocabulary-of-teacher", of_one(gone / whole)
    rows = {name: right_answers(*of, "int4") for name, of in (("few", few), ("many", many))}
    apart = paired_difference(rows["few"], rows["many"], share_right, seed=0)
    accuracy = {name: float(right[:, 0].mean()) for name, right in rows.items()}
    yield "vocabulary-accuracy", Measured(accuracy["few"], high_end(apart), accuracy["many"], in_points(apart))


def measure_cache(place: Path) -> Iterator[tuple[str, Measured]]:
    """Up to the cached targets; what they are worth, they say themselves."""
    place.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", _ROWS), ("test", _TEST)):
        write_jsonl(place / f"{part}.jsonl", read_public("dialogsum", part)[:count])
    (place / "slmops.yaml").write_text(json.dumps(DIALOGSUM))
    run_project(Project.load(place / "slmops.yaml"), until="certificate")
    store, made = artifacts(place)
    of = {(one.kind, one.k): one for one in read_certificates(store.open(made["certificate"]))}
    top, drawn = of["top", 16], of["sampled", 16]
    yield "cache-bytes", of_one(float(top.bytes_per_target), note=f"{top.targets} targets")
    yield "cache-error", of_one(top.error, drawn.error, note=f"total variation {top.total_variation:.3f}")
    yield "cache-bias", Measured(top.bias, Interval.exact(top.bias), drawn.bias)  # which may be 0


def _bytes(store: Store, made: Mapping[str, str], stage: str) -> int:
    return sum(path.stat().st_size for path in weight_files(store.open(made[stage])))


if __name__ == "__main__":
    sys.exit(main())
