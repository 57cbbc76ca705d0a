"""The cache of a teacher's distributions at every target token: written once, memory-mapped while the student learns.

In come a teacher, examples and a temperature; out go codes of some tokens at each target. Knows no student.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from slmops.core.errors import DataError, need
from slmops.core.files import reserve, write_whole
from slmops.core.machine import keep_freed_memory
from slmops.models.forward import pack_for, target_logits
from slmops.models.packing import Batch, Example, by_length
from slmops.models.spelling import Spelling
from slmops.models.tokenizer import Ids
from slmops.training.losses import Taught
from slmops.training.respelled import SaidTokens, respelled_row
from slmops.training.target_codes import Codes, Kind, choose_tokens, decode, encode_likeliest

if TYPE_CHECKING:
    from torch import Tensor, nn

_CODES, _INDEX = "targets.npy", "targets.json"
_SPELLED = 4  # times as many of the teacher's tokens are spelled in the student's as are kept


@keep_freed_memory()
def cache_targets(
    teacher: nn.Module,
    examples: Sequence[Example],
    trusted: Collection[str],
    folder: Path,
    *,
    k: int,
    temperature: float,
    max_tokens: int,
    kind: Kind = "top",
    vocabulary: Sequence[int | None] | None = None,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes what the teacher says at each target of `examples`, `k` tokens of it; `trusted` rows' answers may be
    learned themselves. `vocabulary` is which of the teacher's tokens each of the student's stands for, where these are
    not the same."""
    ordered, sure = by_length(examples), Sureness()
    first, total = _begins(ordered)
    place = _place(first, ordered)
    k = min(k, teacher.config.vocab_size if vocabulary is None else len(vocabulary))
    codes = _open_codes(folder / _CODES, (total, k))
    generator, done = np.random.default_rng(seed), 0
    for batch, logprobs in teacher_logprobs(teacher, ordered, temperature, max_tokens, vocabulary):
        codes[place(batch)] = choose_tokens(logprobs, k, kind, generator)
        sure.hear(batch, logprobs)
        done += len(batch.rows)
        report(done, len(ordered))
    codes.flush()
    new_id = {old: new for new, old in enumerate(vocabulary or ()) if old is not None}
    answers = {example.row: _renamed(example, new_id) for example in ordered}
    _write_index(folder, Index(temperature, _rows(first, answers, trusted), sure.of_rows()))


@keep_freed_memory()
def cache_respelled_targets(
    teacher: nn.Module,
    examples: Sequence[Example],
    learned: Sequence[Example],
    spellings: tuple[Spelling, Spelling],
    trusted: Collection[str],
    folder: Path,
    *,
    k: int,
    temperature: float,
    max_tokens: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """The same for a student with other tokens: the teacher reads `examples`, kept is what it says at each target of
    `learned`, the same rows as the student writes them. `spellings` are the student's and the teacher's. Of a row whose
    answer both write in other bytes, the answer alone is kept."""
    own, read = ({example.row: example for example in some} for some in (learned, examples))
    sure = Sureness()

    def rows() -> Iterator[tuple[str, list[dict[int, float]] | None]]:
        done = 0
        for batch, logprobs in teacher_logprobs(teacher, by_length(examples), temperature, max_tokens):
            for row, said in _said(batch, logprobs, k).items():
                yield row, respelled_row(own[row], read[row], said, *spellings)
            sure.hear(batch, logprobs)
            done += len(batch.rows)
            report(done, len(examples))

    cache_spelled(rows(), learned, trusted, folder, k, temperature, sure)


def cache_spelled(
    rows: Iterable[tuple[str, list[dict[int, float]] | None]],
    learned: Sequence[Example],
    trusted: Collection[str],
    folder: Path,
    k: int,
    temperature: float,
    sure: Sureness | None = None,
) -> None:
    """Writes the probabilities of tokens at each target of each row; of one that has none, its answer alone."""
    first, total = _begins(learned)
    codes = _open_codes(folder / _CODES, (total, k))
    answers, unlike = {example.row: example.answer for example in learned}, []
    for row, found in rows:
        if found is None:
            unlike.append(row)
            found = [{token: 1.0} for token in answers[row]]
        codes[first[row] : first[row] + len(found)] = encode_likeliest(found, k)
    codes.flush()
    told = sure.of_rows() if sure else {}
    _write_index(folder, Index(temperature, _rows(first, answers, trusted), told, spelled=True, unlike=sorted(unlike)))


def _open_codes(path: Path, shape: tuple[int, int]) -> np.memmap:
    """A new array in a file at `path`, mapped into memory, for which there is room on the disk."""
    codes: np.memmap = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint32, shape=shape)
    reserve(path, path.stat().st_size)
    return codes


def _said(batch: Batch, logprobs: Tensor, k: int) -> dict[str, list[SaidTokens]]:
    """What the teacher says at each target of each row; more tokens than are kept, since some will be spelled alike."""
    likeliest = logprobs.topk(min(_SPELLED * k, logprobs.shape[1]), dim=-1)
    there = logprobs.gather(1, batch.target_ids[:, None])[:, 0].exp().tolist()
    rows: dict[str, list[SaidTokens]] = {}
    for row, ids, values, own in zip(
        batch.target_row.tolist(), likeliest.indices.tolist(), likeliest.values.exp().tolist(), there, strict=True
    ):
        rows.setdefault(batch.rows[row], []).append(SaidTokens(dict(zip(ids, values, strict=True)), own))
    return rows


class Sureness:
    """How sure a teacher is of each row: the mean probability of its likeliest token, in its own tokens."""

    def __init__(self) -> None:
        self._heard: dict[str, list[float]] = {}

    def hear(self, batch: Batch, logprobs: Tensor) -> None:
        likeliest = logprobs.max(dim=-1).values.exp().tolist()
        for row, value in zip(batch.target_row.tolist(), likeliest, strict=True):
            self.note(batch.rows[row], value)

    def note(self, row: str, likeliest: float) -> None:
        self._heard.setdefault(row, []).append(likeliest)

    def of_rows(self) -> dict[str, float]:
        return {row: round(sum(values) / len(values), 6) for row, values in sorted(self._heard.items())}


@dataclass(frozen=True)
class Index:
    """Of each row where its targets begin, whether its answer may be learned, and its mark. How `sure` the teacher is
    of each; whether they are `spelled` in other tokens than its own, and of which rows nothing but the answer is there,
    since it is other bytes."""

    temperature: float
    rows: Mapping[str, list[Any]]
    sure: Mapping[str, float] = field(default_factory=dict)
    spelled: bool = False
    unlike: Sequence[str] = ()


def read_cache(folder: Path) -> tuple[Codes, Index]:
    """The (target, k) codes in a folder, mapped into memory, and what they are of."""
    codes = np.load(folder / _CODES, mmap_mode="r", allow_pickle=False)
    return codes, Index(**json.loads((folder / _INDEX).read_text("utf-8")))


def write_cache(folder: Path, codes: Codes, index: Index) -> None:
    np.save(folder / _CODES, codes, allow_pickle=False)
    _write_index(folder, index)


def _write_index(folder: Path, index: Index) -> None:
    write_whole(folder / _INDEX, json.dumps(asdict(index)))


def _begins(examples: Sequence[Example]) -> tuple[dict[str, int], int]:
    """At which target each row begins, and how many there are."""
    first, total = {}, 0
    for example in examples:
        first[example.row] = total
        total += sum(example.learn)
    return first, total


def _rows(first: Mapping[str, int], answers: Mapping[str, Ids], trusted: Collection[str]) -> dict[str, list[Any]]:
    return {row: [first[row], row in trusted, _mark(answers[row])] for row in sorted(answers)}


def is_cached(folder: Path) -> bool:
    """Whether a folder holds a whole cache: its index is written last."""
    return (folder / _INDEX).is_file()


def teacher_logprobs(
    teacher: nn.Module,
    examples: Sequence[Example],
    temperature: float,
    max_tokens: int,
    vocabulary: Sequence[int | None] | None = None,
) -> Iterator[tuple[Batch, Tensor]]:
    """Batches with the teacher's (target, vocab) log-probabilities; if the student's `vocabulary` is another one, among
    the tokens that it stands for: what the student cannot say is no token that it is to say less likely."""
    torch = need("torch", "train")
    known = torch.tensor([0 if id is None else id for id in vocabulary or ()])
    unknown = [new for new, id in enumerate(vocabulary or ()) if id is None]
    for batch in pack_for(teacher, examples, max_tokens):
        with torch.inference_mode():
            logprobs = torch.log_softmax(target_logits(teacher, batch) / temperature, dim=-1)
            if vocabulary is not None:
                logprobs = logprobs[:, known]
                logprobs[:, unknown] = -torch.inf
                logprobs -= logprobs.logsumexp(dim=-1, keepdim=True)
        yield batch, logprobs


def teach_from_cache(folder: Path, examples: Sequence[Example]) -> Callable[[Batch], Taught]:
    """A teacher that answers from the cache. The examples may have other prompts than the cached ones (a student needs
    no long instruction) but must have the same answers, row by row; a noisy copy `row#2` is taught as its `row`.

    Raises:
        ValueError: a row is not in the cache.
        DataError: a row's answer is not the one that the teacher was asked for.
    """
    import torch

    codes, index = read_cache(folder)
    rows = find_rows(index.rows, examples)
    if others := [example.row for example in examples if rows[example.row][2] != _mark(example.answer)]:
        raise DataError(
            f"the cached targets of {len(others)} rows are of other answers, or in another vocabulary: {others[:3]}",
            where=str(folder),
            remedy="make them anew from this teacher, tokenizer and data: slmops run --from targets",
        )
    place = _place({row: kept[0] for row, kept in rows.items()}, examples)

    def teach(batch: Batch) -> Taught:
        ids, logprobs = decode(codes[place(batch)])
        trusted = torch.tensor([float(rows[batch.rows[row]][1]) for row in batch.target_row.tolist()])
        return Taught(torch.from_numpy(ids), torch.from_numpy(logprobs), trusted, index.temperature)

    return teach


def kept_tokens(folder: Path) -> int:
    """How many tokens a cache has of each target."""
    return int(read_cache(folder)[0].shape[1])


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


def _place(first: Mapping[str, int], examples: Sequence[Example]) -> Callable[[Batch], list[int]]:
    """Where a batch's targets lie in the cache, in which those of each row begin at `first`."""
    order = {
        example.row: {offset: at for at, offset in enumerate(np.flatnonzero(example.learn).tolist())}
        for example in examples
    }

    def place(batch: Batch) -> list[int]:
        targets = zip(batch.target_row.tolist(), batch.target_offset.tolist(), strict=True)
        return [first[batch.rows[row]] + order[batch.rows[row]][offset] for row, offset in targets]

    return place


def _renamed(example: Example, new_id: Mapping[int, int]) -> Ids:
    """Its answer as the student writes it; `new_id` is empty where both have the same tokens."""
    return tuple(new_id.get(token, -1) for token in example.answer) if new_id else example.answer


def _mark(answer: Ids) -> int:
    """Tells answers apart."""
    return crc32(np.array(answer, np.int32).tobytes())
