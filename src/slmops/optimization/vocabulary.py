"""Trims a model's vocabulary to the tokens of a domain: what it never reads or writes there costs no bytes.

In come a model, what its tokenizer.json says without padding, and the ids that its texts were encoded to; out go the
rows that are kept and a tokenizer that encodes those texts as before and loses no character of any other: whatever it
has no token for is spelled in smaller pieces, in the end in bytes. Knows no task and no training.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmops.core.errors import ModelError, need
from slmops.core.files import write_whole
from slmops.models.folder import CHAT_TEMPLATE, read_json, text_part
from slmops.models.spelling import byte_of, parts_of

if TYPE_CHECKING:
    from torch import Tensor, nn

Json = dict[str, Any]
_NEVER_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
_KEPT = "vocabulary.json"
_LONGEST = 2000  # letters; joining them takes the square of it
_REMEDY = "write student.vocabulary: all"


@dataclass(frozen=True)
class Vocabulary:
    """Which old id each new one stands for, None for a byte that the old tokenizer had no token for; and the
    tokenizer.json in which it is so."""

    kept: tuple[int | None, ...]
    tokenizer: Json

    @property
    def new_id(self) -> dict[int, int]:
        return _new_ids(self.kept)


def trim_tokenizer(tokenizer: Json, used: Collection[int], at_least: int, rows: int = sys.maxsize) -> Vocabulary:
    """The `used` tokens, those that are joined on the way to them, all bytes and special tokens; filled up to
    `at_least` with the commonest others, which are those that were joined first. Special tokens that a model of so many
    `rows` does not have go (Gemma 3's for images).

    Raises:
        ModelError: it is no byte-pair encoding that can spell any text.
    """
    tokenizer = tokenizer | {"added_tokens": [token for token in tokenizer["added_tokens"] if token["id"] < rows]}
    bpe = _Bpe(tokenizer)
    keep = {bpe.tokens[id] for id in {*used, *_named(tokenizer)} if id in bpe.tokens}
    keep = {part for token in keep for part in bpe.joined_of(token)} | bpe.alphabet
    for left, right in bpe.merges:
        if len(keep) + len(bpe.added) >= at_least:
            break
        keep |= bpe.joined_of(left + right)
    of_model = sorted({bpe.ids[token] for token in keep if token in bpe.ids} | (bpe.tokens.keys() & set(bpe.added)))
    lacking = sorted(bpe.alphabet - bpe.ids.keys())
    behind = [id for id in bpe.added if id not in bpe.tokens]
    kept = (*of_model, *(None for _ in lacking), *behind)
    vocabulary = {bpe.tokens[id]: new for new, id in enumerate(of_model)}
    vocabulary |= {token: len(of_model) + at for at, token in enumerate(lacking)}
    merges = [
        written
        for (left, right), written in zip(bpe.merges, tokenizer["model"]["merges"], strict=True)
        if {left, right, left + right} <= keep
    ]
    trimmed = tokenizer | {"model": tokenizer["model"] | {"vocab": vocabulary, "merges": merges}}
    return Vocabulary(kept, _renumber(trimmed, _new_ids(kept)))


def write_tokenizer(vocabulary: Vocabulary, source: Path, out: Path) -> None:
    """The tokenizer's files as those of the folder `source`, with the new ids."""
    write_whole(out / "tokenizer.json", json.dumps(vocabulary.tokenizer, ensure_ascii=False))
    new_id, described = vocabulary.new_id, source / "tokenizer_config.json"
    told = read_json(described) if described.is_file() else {}
    if "added_tokens_decoder" in told:
        added = {int(id): token for id, token in told["added_tokens_decoder"].items()}
        told["added_tokens_decoder"] = {str(new_id[id]): token for id, token in added.items() if id in new_id}
    write_whole(out / "tokenizer_config.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    if (source / CHAT_TEMPLATE).is_file():  # by which some families are told
        shutil.copyfile(source / CHAT_TEMPLATE, out / CHAT_TEMPLATE)


def write_kept(vocabulary: Vocabulary, folder: Path) -> None:
    """Beside a student: what follows may need to know which of its teacher's tokens it has."""
    write_whole(folder / _KEPT, json.dumps(vocabulary.kept))


def copy_kept(source: Path, folder: Path) -> None:
    """The same for a model that was cut further; nothing where the vocabulary is whole."""
    if (source / _KEPT).is_file():
        shutil.copyfile(source / _KEPT, folder / _KEPT)


def read_kept(folder: Path) -> list[int | None] | None:
    """`Vocabulary.kept` of the student in `folder`; None where it has all tokens of its source."""
    path = folder / _KEPT
    return read_json(path) if path.is_file() else None


def heard_tokens(student: Path, teacher: Path) -> list[int | None] | None:
    """Which of the teacher's tokens each of the student's stands for, None where there is none; None in all where they
    are the same, to the last. Models of one tokenizer may have more rows than it has tokens, and not equally many."""
    if kept := read_kept(student):
        return kept
    own, there = (int(text_part(read_json(folder / "config.json"))["vocab_size"]) for folder in (student, teacher))
    return None if own == there else [id if id < there else None for id in range(own)]


def trim_model(model: nn.Module, kept: Sequence[int | None]) -> nn.Module:
    """The model with only the rows of the tokens that are kept (`Vocabulary.kept`), in place; a head that is tied to
    the embeddings stays so. A token that is new has the mean of all.

    Raises:
        ModelError: a token that is kept has no row.
    """
    import torch

    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied, rows = head.weight is embeddings.weight, embeddings.weight.shape[0]
    if highest := max((id for id in kept if id is not None and id >= rows), default=0):
        raise ModelError(f"the tokenizer has a token {highest}, the model {rows} rows", remedy=_REMEDY)
    embeddings.weight = torch.nn.Parameter(_rows(embeddings.weight, kept))
    embeddings.num_embeddings = head.out_features = len(kept)
    head.weight = embeddings.weight if tied else torch.nn.Parameter(_rows(head.weight, kept))
    if head.bias is not None:
        head.bias = torch.nn.Parameter(_rows(head.bias, kept))
    embeddings.padding_idx = None
    new_id = _new_ids(kept)
    for config in (model.config, model.generation_config):
        for name, value in list(vars(config).items()):
            if name.endswith("_token_id") and value is not None:
                setattr(config, name, _renumber_ids(value, new_id))
    model.config.vocab_size = len(kept)
    return model


def _new_ids(kept: Sequence[int | None]) -> dict[int, int]:
    return {old: new for new, old in enumerate(kept) if old is not None}


def _rows(weight: Tensor, kept: Sequence[int | None]) -> Tensor:
    import torch

    with torch.no_grad():
        rows = weight[[0 if id is None else id for id in kept]]
        rows[[new for new, id in enumerate(kept) if id is None]] = weight.mean(0)
        return rows


def _renumber_ids(value: int | list[int], new_id: Mapping[int, int]) -> int | list[int] | None:
    if isinstance(value, int):
        return new_id.get(value)
    return [new_id[id] for id in value if id in new_id]


def _named(tokenizer: Json) -> Iterator[int]:
    """The ids that its post-processor puts around a text."""
    for part in parts_of(tokenizer.get("post_processor")):
        yield from part["ids"] if isinstance(part.get("ids"), list) else ()
        yield from (part[name][1] for name in {"sep", "cls"} & part.keys())


def _renumber(tokenizer: Json, new_id: Mapping[int, int]) -> Json:
    """The tokenizer with new ids wherever it names one."""
    tokenizer = copy.deepcopy(tokenizer)
    added = [token | {"id": new_id[token["id"]]} for token in tokenizer["added_tokens"]]
    tokenizer["added_tokens"] = sorted(added, key=lambda token: int(token["id"]))
    for part in parts_of(tokenizer.get("post_processor")):
        if isinstance(part.get("ids"), list):
            part["ids"] = [new_id[id] for id in part["ids"]]
        for name in {"sep", "cls"} & part.keys():
            part[name] = [part[name][0], new_id[part[name][1]]]
    return tokenizer


class _Bpe:
    """A byte-pair encoding as tokenizer.json describes it."""

    def __init__(self, tokenizer: Json) -> None:
        model = tokenizer["model"]
        if model.get("type") != "BPE" or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
            raise ModelError("its tokenizer is no byte-pair encoding that can be trimmed", remedy=_REMEDY)
        self.ids: dict[str, int] = model["vocab"]
        self.tokens = {id: token for token, id in self.ids.items()}
        self.merges = [_pair(merge) for merge in model["merges"]]
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self.added = sorted(token["id"] for token in tokenizer["added_tokens"])
        self.alphabet = self._find_alphabet(tokenizer)

    def joined_of(self, token: str) -> set[str]:
        """The token and all that are joined on the way to it: the lowest rank first, the leftmost of equals, as when a
        text is encoded. What crosses a token's border was never joined, so that each can be followed on its own."""
        if token in self.alphabet:
            return {token}
        if len(token) > _LONGEST:
            raise ModelError(f"its tokenizer has a token of {len(token):,} letters", remedy=_REMEDY)
        parts, seen = list(token), set(token)
        while len(parts) > 1:
            rank, at = min((self._ranks.get(pair, len(self._ranks)), at) for at, pair in enumerate(pairwise(parts)))
            if rank == len(self._ranks):
                break
            parts[at : at + 2] = ["".join(parts[at : at + 2])]
            seen.add(parts[at])
        return {part for part in seen if part in self.ids} | {token}

    def _find_alphabet(self, tokenizer: Json) -> set[str]:
        """The tokens of all bytes that a text can have."""
        if tokenizer["model"].get("byte_fallback"):
            return {f"<0x{byte:02X}>" for byte in range(256)}
        if not any(part.get("type") == "ByteLevel" for part in parts_of(tokenizer.get("pre_tokenizer"))):
            raise ModelError("its tokenizer has no bytes to spell unknown text in", remedy=_REMEDY)
        letters = need("tokenizers", "train").pre_tokenizers.ByteLevel.alphabet()
        return {letter for letter in letters if byte_of(letter) not in _NEVER_IN_UTF8}


def _pair(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right
