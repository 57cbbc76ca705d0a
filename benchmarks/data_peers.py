"""Near duplicates by a peer, in an environment of its own: `data_peers.py datatrove|data-juicer ROWS.jsonl OUT.npy`.

In come rows with `text`, out go (row) the first row of its cluster, and on stdout the seconds from reading to clusters.
Peers run at their defaults with two processes. Knows nothing of slmops, which their environments lack:

    python -m venv datatrove && datatrove/bin/pip install 'datatrove[io,processing]' spacy
    python -m venv data-juicer && data-juicer/bin/pip install py-data-juicer
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PROCESSES = 2


def main(peer: str, rows: str, out: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        leaders = {"datatrove": by_datatrove, "data-juicer": by_data_juicer}[peer](Path(rows), Path(folder))
        print(json.dumps({"seconds": time.perf_counter() - begun}))
    np.save(out, leaders)


def by_datatrove(rows: Path, folder: Path) -> np.ndarray[Any, Any]:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.readers import JsonlReader

    config = MinhashConfig()
    lines = rows.read_text().splitlines(keepends=True)
    (folder / "rows").mkdir()
    half = -(-len(lines) // PROCESSES)  # a task is a file
    for part in range(PROCESSES):
        (folder / "rows" / f"{part}.jsonl").write_text("".join(lines[part * half : (part + 1) * half]))
    sign = [JsonlReader(str(folder / "rows")), MinhashDedupSignature(str(folder / "signatures"), config)]
    match = [MinhashDedupBuckets(str(folder / "signatures"), str(folder / "pairs"), config=config)]
    for number, (steps, tasks) in enumerate(((sign, PROCESSES), (match, config.num_buckets))):
        LocalPipelineExecutor(steps, tasks, PROCESSES, logging_dir=str(folder / f"log{number}")).run()
    leaders = np.arange(len(lines))
    for file in (folder / "pairs").glob("*.dups"):
        for one_file, one, other_file, other in struct.iter_unpack("<4I", file.read_bytes()):
            join(leaders, one_file * half + one, other_file * half + other)
    return np.array([find(leaders, row) for row in range(len(lines))])


def by_data_juicer(rows: Path, folder: Path) -> np.ndarray[Any, Any]:
    from data_juicer.core.data import NestedDataset
    from data_juicer.ops.deduplicator import DocumentMinhashDeduplicator
    from datasets import Dataset

    texts = [json.loads(line)["text"] for line in rows.open()]
    data = NestedDataset(Dataset.from_dict({"text": texts, "row": list(range(len(texts)))}))
    peer = DocumentMinhashDeduplicator()
    hashed = data.map(peer.compute_hash, num_proc=PROCESSES)
    _, pairs = peer.process(hashed, show_num=len(texts))
    leaders = np.arange(len(texts))
    for alike in pairs.values():
        first, *others = (row["row"] for row in alike)
        for other in others:
            join(leaders, first, other)
    return np.array([find(leaders, row) for row in range(len(texts))])


def find(leaders: np.ndarray[Any, Any], row: int) -> int:
    while leaders[row] != row:
        leaders[row] = row = int(leaders[leaders[row]])
    return row


def join(leaders: np.ndarray[Any, Any], one: int, other: int) -> None:
    a, b = find(leaders, one), find(leaders, other)
    leaders[max(a, b)] = min(a, b)


if __name__ == "__main__":
    main(*sys.argv[1:])
