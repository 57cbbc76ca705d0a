"""Public data sets that benchmarks read, in the folder SLMOPS_BENCH_DATA; where each comes from, if it is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from slmops.core.errors import DataError

DATA = Path(os.environ.get("SLMOPS_BENCH_DATA") or Path(__file__).parent.parent.parent / "shared" / "data")

_ORIGINS = {
    "clinc150": "CLINC150, github.com/clinc/oos-eval: text, label",
    "sick": "SICK, zenodo.org/records/2787612: premise, hypothesis, label",
    "dstc8_buses": "DSTC8 Buses, github.com/PolyAI-LDN/task-specific-datasets: text, slots",
    "xquad_en": "XQuAD in English, github.com/google-deepmind/xquad: context, question, answers",
    "gsm8k": "GSM8K, github.com/openai/grade-school-math: question, answer",
    "dialogsum": "DialogSum, github.com/cylnlp/dialogsum: document, summary",
    "sgd_conversations": "github.com/google-research-datasets/dstc8-schema-guided-dialogue: messages",
}


def read_public(name: str, part: str) -> list[dict[str, Any]]:
    """The rows of a set's `part`: train or test.

    Raises:
        DataError: the file is missing.
    """
    path = DATA / name / f"{part}.jsonl"
    if not path.is_file():
        remedy = f"write it as JSON Lines ({_ORIGINS[name]}), or set SLMOPS_BENCH_DATA to where it is"
        raise DataError("a public data set is missing", where=str(path), remedy=remedy)
    return [json.loads(line) for line in path.read_text().split("\n") if line]
