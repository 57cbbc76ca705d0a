"""Public data sets that benchmarks read, in the folder SLMOPS_BENCH_DATA; where each comes from, if it is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from slmops.core.artifact import hash_file
from slmops.core.errors import DataError

DATA = Path(os.environ.get("SLMOPS_BENCH_DATA") or Path(__file__).parent.parent.parent / "shared" / "data")

_ORIGINS = {
    "clinc150": "CLINC150, github.com/clinc/oos-eval, data/data_full.json: text, label, domain",
    "sick": "SICK, zenodo.org/records/2787612: premise, hypothesis, label",
    "dstc8_buses": "DSTC8 Buses, github.com/PolyAI-LDN/task-specific-datasets: text, slots",
    "xquad_en": "XQuAD in English, github.com/google-deepmind/xquad: context, question, answers",
    "gsm8k": "GSM8K, github.com/openai/grade-school-math: question, answer",
    "dialogsum": "DialogSum, github.com/cylnlp/dialogsum: document, summary",
    "sgd_conversations": "github.com/google-research-datasets/dstc8-schema-guided-dialogue: messages",
}


INTENTS = 30  # the first ones of CLINC150 by name
CLINC150_TRAIN = "0856ad7c64d62f91e954aeeda88ebdf3610ed0424d0800cd077d9505d17e1f32"  # its sha256


def read_public(name: str, part: str, sha256: str = "") -> list[dict[str, Any]]:
    """The rows of a set's `part`: train or test.

    Raises:
        DataError: the file is missing, or is not the one with that `sha256`.
    """
    path = DATA / name / f"{part}.jsonl"
    if not path.is_file() or (sha256 and hash_file(path).sha256 != sha256):
        which = f"{_ORIGINS[name]}; sha256 {sha256}" if sha256 else _ORIGINS[name]
        remedy = f"write it as JSON Lines ({which}), or set SLMOPS_BENCH_DATA to where it is"
        raise DataError("a public data set is missing, or another one", where=str(path), remedy=remedy)
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def read_intents(part: str) -> list[dict[str, Any]]:
    """The rows of CLINC150's `part` with one of the first INTENTS intents.

    Raises:
        DataError: the file is missing, or another one.
    """
    rows = read_public("clinc150", part, CLINC150_TRAIN if part == "train" else "")
    intents = sorted({row["label"] for row in rows} - {"oos"})[:INTENTS]
    return [row for row in rows if row["label"] in intents]
