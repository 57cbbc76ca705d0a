"""Tokens of the vocabulary that only a model's template writes, before every conversation: what prompt tuning learns.

In come a model folder and a number; out goes a folder with so many more tokens. No runtime knows of learned vectors
before a text, but every runtime knows tokens and templates: so the model that ships is a plain one. Knows no training.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slmops.core.errors import ModelError, need
from slmops.core.files import write_whole
from slmops.models.folder import read_json
from slmops.models.forward import load_causal_lm
from slmops.models.tokenizer import Ids, Tokenizer, virtual_name

if TYPE_CHECKING:
    from torch import nn

_COMMON = 5000  # tokens of the lowest ids: byte pairs are numbered as they were joined, the commonest first


def add_virtual_tokens(source: Path, out: Path, count: int, seed: int) -> None:
    """Writes the model of `source` with `count` virtual tokens. Each begins as one of the common tokens, drawn from
    `seed` (Lester et al. 2021, arXiv 2104.08691, section 2.1).

    Raises:
        ModelError: it has such tokens already.
    """
    known = Tokenizer(source)
    if any(virtual_name(number) in known for number in range(count)) or known.virtual:
        raise ModelError(
            "it has virtual tokens already", where=str(source), remedy="begin with the model that it was made from"
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    _extend_tokenizer(source, out, [virtual_name(number) for number in range(count)])
    ids = Tokenizer(out).virtual_ids
    model = load_causal_lm(source)
    _extend_embeddings(model, ids, seed)
    model.save_pretrained(out)


def _extend_tokenizer(source: Path, out: Path, names: list[str]) -> None:
    rust = need("tokenizers", "train")
    tokenizer = rust.Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.add_special_tokens([rust.AddedToken(name, special=True, normalized=False) for name in names])
    tokenizer.save(str(out / "tokenizer.json"))
    described = source / "tokenizer_config.json"
    told = read_json(described) if described.is_file() else {}
    if "added_tokens_decoder" in told:
        more = {str(tokenizer.token_to_id(name)): {"content": name, "special": True} for name in names}
        told["added_tokens_decoder"] |= more
    write_whole(out / "tokenizer_config.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def _extend_embeddings(model: nn.Module, ids: Ids, seed: int) -> None:
    """Room for the tokens, at the places that some models have to spare or behind all others. Rows that belong to no
    token, and those of a head of its own, are the mean of all: never the likeliest."""
    import torch

    size = model.config.vocab_size
    if ids[-1] >= size:
        model.resize_token_embeddings(ids[-1] + 1, mean_resizing=False)
    common = min(_COMMON, ids[0], size)
    like = np.random.default_rng(seed).choice(common, len(ids), replace=len(ids) > common)
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    with torch.no_grad():
        for weight in (embeddings, head):
            weight[size:] = weight[:size].mean(0)
        embeddings[list(ids)] = embeddings[like.tolist()]
        if head is not embeddings:
            head[list(ids)] = head[:size].mean(0)
