"""Targets of a closed set: for each row the probability of every label, given back token by token.

In come (row, label) probabilities; while a student learns, they become its distribution at each branch of the labels'
token trie. No tokenizer needs to be common to teacher and student. Knows no teacher.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import need
from slmops.core.files import write_whole
from slmops.models.packing import Batch, Example
from slmops.models.tokenizer import Ids
from slmops.training.losses import Taught
from slmops.training.targets import find_rows

if TYPE_CHECKING:
    from torch import Tensor

_FLOOR = 1e-6


def write_label_targets(
    folder: Path,
    labels: Sequence[str],
    rows: Sequence[str],
    probabilities: NDArray[np.float64],
    trusted: Collection[str],
    temperature: float,
) -> None:
    """Writes (row, label) `probabilities`; `trusted` rows' answers may be learned themselves."""
    safetensors = need("safetensors.numpy", "train")
    safetensors.save_file({"probabilities": probabilities.astype(np.float32)}, folder / "targets.safetensors")
    index = {
        "labels": list(labels),
        "temperature": temperature,
        "rows": {name: [row, name in trusted] for row, name in enumerate(rows)},
    }
    write_whole(folder / "targets.json", json.dumps(index))


def teach_labels(folder: Path, examples: Sequence[Example], answers: Mapping[str, Ids]) -> Callable[[Batch], Taught]:
    """A teacher that answers from `folder`. `answers` are the labels' ids, end token included; an example's learned
    tokens are one of them. A noisy copy `row#2` is taught as its `row`.

    Raises:
        ValueError: a row is not in the folder.
    """
    torch, safetensors = need("torch", "train"), need("safetensors.torch", "train")
    index = json.loads((folder / "targets.json").read_text("utf-8"))
    probabilities = safetensors.load_file(folder / "targets.safetensors")["probabilities"]
    probabilities, power = probabilities.clamp(min=_FLOOR), 1 / index["temperature"]
    rows = find_rows(index["rows"], examples)
    begins = {example.row: example.learn.index(True) for example in examples}
    written = {example.row: example.answer for example in examples}
    branches = _branches([answers[label] for label in index["labels"]])

    def teach(batch: Batch) -> Taught:
        names = [batch.rows[row] for row in batch.target_row.tolist()]
        at = [
            branches[written[name][: offset - begins[name]]]
            for name, offset in zip(names, batch.target_offset.tolist(), strict=True)
        ]
        ids = torch.stack([ids for ids, _ in at])
        leads_to = torch.stack([leads_to for _, leads_to in at])  # (target, k, label)
        of_labels = probabilities[torch.tensor([rows[name][0] for name in names])]
        mass = (leads_to @ of_labels[:, :, None])[:, :, 0] ** power  # of tokens, as the student's are softened
        trusted = torch.tensor([float(rows[name][1]) for name in names])
        logprobs = (mass / mass.sum(1, keepdim=True)).log()  # −inf where fewer than k tokens can follow
        return Taught(ids, logprobs, trusted, index["temperature"])

    return teach


def _branches(answers: Sequence[Ids]) -> dict[Ids, tuple[Tensor, Tensor]]:
    """For all that may have been written of an answer: (k,) ids that can follow, and (k, label) which labels they lead
    to; k is the same everywhere."""
    import torch

    following: dict[Ids, dict[int, list[int]]] = {}
    for label, answer in enumerate(answers):
        for length, token in enumerate(answer):
            following.setdefault(answer[:length], {}).setdefault(token, []).append(label)
    widest = max(map(len, following.values()))
    branches = {}
    for before, tokens in following.items():
        ids, leads_to = torch.zeros(widest, dtype=torch.long), torch.zeros(widest, len(answers))
        for place, (token, labels) in enumerate(tokens.items()):
            ids[place], leads_to[place, labels] = token, 1.0
        branches[before] = ids, leads_to
    return branches
