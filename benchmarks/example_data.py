"""Prints the figures of the support-triage example's data card: `python benchmarks/example_data.py`, 10 seconds.

Reads the three data files as the pipeline would; prints Markdown. The classical baseline learns from the labelled
messages and answers the test once: nothing about it was chosen by that answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

from slmops.core.statistics import bootstrap
from slmops.data.check import repeated_ngrams, similar_across, similar_within
from slmops.data.grams import grams, normalise
from slmops.data.read import read_records
from slmops.tasks.classification import Classification
from slmops.tasks.metrics import MacroF1, accuracy
from slmops.tasks.types import Record

DATA = Path(__file__).parent.parent / "examples" / "support-triage" / "data"
NAMES = ("labelled", "unlabelled", "development", "test")


def main() -> None:
    files = {name: read_records(DATA / f"{name}.jsonl") for name in NAMES}
    print("\n".join([*describe_files(files), "", *describe_overlap(files), "", *describe_baseline(files)]))


def describe_files(files: dict[str, list[Record]]) -> Iterator[str]:
    """A row a file: how many messages, how long they are, and which runs of 5 words stand in two or more of them."""
    yield "| file | messages | per intent | words (least, median, most) | characters | 5-grams repeated |"
    yield "|---|---|---|---|---|---|"
    for name, records in files.items():
        texts = [record.inputs["text"] for record in records]
        labels = sorted({count for label, count in Counter(record.gold for record in records).items() if label})
        repeated = repeated_ngrams(records)
        cells = (
            f"{name}.jsonl",
            str(len(records)),
            "–".join(map(str, labels)) or "not labelled",
            _spread([len(text.split()) for text in texts]),
            _spread([len(text) for text in texts]),
            f"{len(repeated)}, at most in {max((count for _, count in repeated), default=1)}",
        )
        yield f"| {' | '.join(cells)} |"


def describe_overlap(files: dict[str, list[Record]]) -> Iterator[str]:
    """A row a pair of files: messages that are alike, and how alike the most similar ones are."""
    yield "| files | near-duplicates (character 5-grams, Jaccard ≥ 0.8) | highest similarity |"
    yield "|---|---|---|"
    counter = CountVectorizer(analyzer=lambda record: grams(normalise(record.text)))
    counter.fit([record for records in files.values() for record in records])
    holds = {name: counter.transform(records) for name, records in files.items()}
    for row, (name, records) in enumerate(files.items()):
        alike = _similarities(holds[name], holds[name])
        np.fill_diagonal(alike, 0)
        yield f"| within {name} | {len(similar_within(records))} | {alike.max():.2f} |"
        for other in NAMES[row + 1 :]:
            alike = _similarities(holds[name], holds[other])
            yield f"| {name}, {other} | {len(similar_across(records, files[other]))} | {alike.max():.2f} |"


def describe_baseline(files: dict[str, list[Record]]) -> Iterator[str]:
    """A row a metric: TF-IDF with logistic regression on the test, with its interval."""
    task = Classification(sorted({record.gold for record in files["labelled"]}))
    predicted = task.baseline(files["labelled"], files["test"])
    yield "| classical baseline on the test | value | 95 % interval |"
    yield "|---|---|---|"
    for metric in (accuracy(), MacroF1(task.labels)):
        rows = metric.rows(predicted, [record.gold for record in files["test"]])
        found = bootstrap(rows, metric.reduce, seed=7)
        yield f"| {metric.name} | {found.value:.3f} | {found.low:.3f} – {found.high:.3f} |"


def _similarities(left: csr_matrix, right: csr_matrix) -> NDArray[np.float64]:
    """(row of `left`, row of `right`): Jaccard of the grams that they hold."""
    shared = (left @ right.T).toarray()
    return np.asarray(shared / (left.sum(axis=1).reshape(-1, 1) + right.sum(axis=1).reshape(1, -1) - shared))


def _spread(lengths: list[int]) -> str:
    return f"{min(lengths)}, {np.median(lengths):g}, {max(lengths)}"


if __name__ == "__main__":
    main()
