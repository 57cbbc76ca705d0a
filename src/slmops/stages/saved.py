"""Writes a trained model as a folder that anyone's runtime asks the way it was trained, and proves it: the model in
memory, adapters still beside its weights, is held against the folder read anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from slmops.core.errors import DataError
from slmops.core.files import write_whole
from slmops.deployment.chat_template import chat_template
from slmops.models.families import encode_answer, encode_prompt, end_token, family_of
from slmops.models.folder import Card, read_json, write_card
from slmops.models.tokenizer import Tokenizer
from slmops.runtimes.probes import PROBES, Probe, pairs_of, record_probes
from slmops.runtimes.proof import require, same_logprobs, write_chain
from slmops.runtimes.rendering import check_asking
from slmops.runtimes.torch_lm import TorchRuntime, score
from slmops.runtimes.types import Scores
from slmops.stages.parts import read_part, read_task, read_task_spec
from slmops.tasks.types import Prompt, messages_for
from slmops.training.methods import merge

if TYPE_CHECKING:
    from torch import nn

LOOK_AT_DISK = "what was read is not what was written: look at the disk, then run it again"
_PROBES = 24
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def save_model(
    stage: str, model: nn.Module, source: Path, out: Path, dataset: Path, prompt: Prompt, licence: str
) -> None:
    """Merges adapters; writes weights, the tokenizer of `source` with the template and the end token that were learned,
    the card, probes and proof.

    Raises:
        ProofError: what was written is not what was trained.
    """
    asked = to_ask(source, dataset, prompt, model.config.max_position_embeddings)
    trained = as_trained(model, asked)
    merged = merge(model)
    save_weights(merged, source, out)
    write_card(out, Card(read_task_spec(dataset), prompt, licence))
    probes = record_probes(TorchRuntime(out, ends=frozenset()), asked, out / PROBES)
    same = same_logprobs(
        stage,
        "merged and saved",
        trained,
        [Scores(probe.logprobs) for probe in probes],
        LOOK_AT_DISK,
    )
    if not same.holds:  # by which of the two?
        merging = same_logprobs(
            stage, "merged", trained, score(merged, pairs_of(asked)), "train with method: full, and report this"
        )
        same = same if merging.holds else merging
    links = [same, *check_asking(stage, out, probes)]
    write_chain(out, links)
    require(links)


def as_trained(model: nn.Module, asked: Sequence[Probe]) -> list[Probe]:
    """The probes as the model in memory answers them, adapters beside its weights."""
    scores = score(model.eval(), pairs_of(asked))  # where a copy of it learned, its dropout is still on
    return [replace(probe, logprobs=found.logprobs) for probe, found in zip(asked, scores, strict=True)]


def prove_adapter(trained: Sequence[Probe], found: Sequence[Scores], folder: Path, *, exact: bool) -> None:
    """Holds what was found of an adapter, read anew from `folder`, against what was trained; not `exact`: it learned
    beside a base in four bits, and what that moves stands in the proof.

    Raises:
        ProofError: what was written is not what was trained.
    """
    compared = "saved" if exact else "saved, its base no longer in four bits"
    link = same_logprobs("adapter", compared, trained, found, LOOK_AT_DISK, exact=exact)
    write_chain(folder, [link])
    require([link])


def to_ask(source: Path, dataset: Path, prompt: Prompt, context: int) -> list[Probe]:
    """Validation rows, of those that a model reads with its `context`; where they are few, rows to train on, too: what
    is asked is whether two models are the same.

    Raises:
        DataError: all rows are longer.
    """
    found = list(islice(_probes_within(source, dataset, prompt, context), _PROBES))
    if not found:
        remedy = "shorten the rows, or choose a model with a longer context"
        raise DataError(f"all rows are longer than the context of {context:,} tokens", where="probes", remedy=remedy)
    return found


def _probes_within(source: Path, dataset: Path, prompt: Prompt, context: int) -> Iterator[Probe]:
    tokenizer, task = Tokenizer(source), read_task(dataset)
    family = family_of(tokenizer)
    for record in chain(read_part(dataset, "validation"), read_part(dataset, "train")):
        messages, text = tuple(messages_for(task, prompt, record)), task.write(record.gold)
        ids = encode_prompt(tokenizer, family, messages), encode_answer(tokenizer, family, text)
        if sum(map(len, ids)) <= context:
            yield Probe(*ids, row=record.id, messages=messages, text=text, gold=record.gold)


def save_weights(model: nn.Module, source: Path, out: Path) -> None:
    """The folder that anyone loads: whatever template and end the base had, those that were learned stand there."""
    tokenizer = Tokenizer(source)
    family = family_of(tokenizer)
    for config in (model.config, model.generation_config):
        config.eos_token_id = end_token(tokenizer, family)
    model.save_pretrained(out)
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            (out / name).write_bytes((source / name).read_bytes())
    described = out / "tokenizer_config.json"
    told = read_json(described) if described.is_file() else {}
    told["chat_template"] = chat_template(family, tokenizer.special_ids)
    write_whole(described, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    for path in out.iterdir():
        path.chmod(0o644)
