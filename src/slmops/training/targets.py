"""The cache of a teacher's distributions at every target token: written once, memory-mapped while the student learns.

In come a teacher, examples and a temperature; out go top-k ids and log-probabilities on disk. Knows no student.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmops.core.errors import need
from slmops.core.files import write_whole
from slmops.core.machine import keep_freed_memory
from slmops.models.forward import target_logits
from slmops.models.packing import Batch, Example, by_length, pack
from slmops.training.losses import Taught

if TYPE_CHECKING:
    from torch import nn


@keep_freed_memory()
def cache_targets(
    teacher: nn.Module,
    examples: Sequence[Example],
    trusted: Collection[str],
    folder: Path,
    *,
    top_k: int,
    temperature: float,
    max_tokens: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes what the teacher says at each target of `examples`; `trusted` rows' answers may be learned themselves."""
    torch, safetensors = need("torch", "train"), need("safetensors.torch", "train")
    ordered = by_length(examples)
    first, total = {}, 0
    for example in ordered:
        first[example.row] = total
        total += sum(example.learn)
    order = {example.row: {at: i for i, at in enumerate(_learned(example))} for example in ordered}
    top_k = min(top_k, teacher.config.vocab_size)
    ids = torch.zeros(total, top_k, dtype=torch.int32)
    logprobs = torch.zeros(total, top_k, dtype=torch.float16)
    done = 0
    for batch in pack(ordered, max_tokens):
        with torch.inference_mode():
            distribution = torch.log_softmax(target_logits(teacher, batch) / temperature, dim=-1)
        top = distribution.topk(top_k, dim=-1)
        names = [batch.rows[row] for row in batch.target_row.tolist()]
        at = torch.tensor(
            [
                first[name] + order[name][offset]
                for name, offset in zip(names, batch.target_offset.tolist(), strict=True)
            ]
        )
        ids[at], logprobs[at] = top.indices.int(), top.values.half()
        done += len(batch.rows)
        report(done, len(ordered))
    safetensors.save_file({"ids": ids, "logprobs": logprobs}, folder / "targets.safetensors")
    index = {
        "temperature": temperature,
        "rows": {name: [start, name in trusted] for name, start in sorted(first.items())},
    }
    write_whole(folder / "targets.json", json.dumps(index))


def teach_from_cache(folder: Path, examples: Sequence[Example]) -> Callable[[Batch], Taught]:
    """A teacher that answers from the cache. The examples may have other prompts than the cached ones (a student needs
    no long instruction) but must have the same answers, row by row; a noisy copy `row#2` is taught as its `row`.

    Raises:
        ValueError: a row is not in the cache.
    """
    torch, safetensors = need("torch", "train"), need("safetensors.torch", "train")
    tensors = safetensors.load_file(folder / "targets.safetensors")
    index = json.loads((folder / "targets.json").read_text())
    rows = find_rows(index["rows"], examples)
    order = {example.row: {at: i for i, at in enumerate(_learned(example))} for example in examples}

    def teach(batch: Batch) -> Taught:
        names = [batch.rows[row] for row in batch.target_row.tolist()]
        at = torch.tensor(
            [
                rows[name][0] + order[name][offset]
                for name, offset in zip(names, batch.target_offset.tolist(), strict=True)
            ]
        )
        trusted = torch.tensor([float(rows[name][1]) for name in names])
        return Taught(tensors["ids"][at].long(), tensors["logprobs"][at].float(), trusted, index["temperature"])

    return teach


def find_rows(kept: Mapping[str, Any], examples: Sequence[Example]) -> dict[str, Any]:
    """What is kept for the row of each example; for a noisy copy `row#2`, that of `row`.

    Raises:
        ValueError: nothing is kept for a row.
    """
    rows = {example.row: kept.get(example.row.partition("#")[0]) for example in examples}
    missing = [row for row, found in rows.items() if found is None]
    if missing:
        raise ValueError(f"rows without cached targets: {missing[:5]}")
    return rows


def _learned(example: Example) -> list[int]:
    return [offset for offset, learned in enumerate(example.learn) if learned]
