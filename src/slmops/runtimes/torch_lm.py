"""The torch runtime: a folder of safetensors, run by transformers on the CPU. Works on token ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import need
from slmops.models.adapters import check_base, read_adapter
from slmops.models.forward import NumberFormat, load_causal_lm, pack_for, target_logits
from slmops.models.lora import attach, use
from slmops.models.packing import Example, by_length, shared_prefix
from slmops.runtimes.decoding import check_fits, common_length, decode, room_for_answer
from slmops.runtimes.together import write_together
from slmops.runtimes.trie import TokenTrie
from slmops.runtimes.types import Chunk, Ids, Limits, Request, Scores, Written, check_adapter

if TYPE_CHECKING:
    from torch import nn

_PACKED_TOKENS = 2048


class TorchRuntime:
    """A causal language model, in fp32 unless `number_format` says otherwise; `adapters` are folders, by name."""

    def __init__(
        self,
        folder: Path,
        *,
        ends: frozenset[int],
        threads: int = 0,
        number_format: NumberFormat = "float32",
        adapters: Mapping[str, Path] | None = None,
    ) -> None:
        torch = need("torch", "train")
        if threads:
            torch.set_num_threads(threads)
        self.model = load_causal_lm(folder, number_format)
        self.limits = Limits(int(getattr(self.model.config, "max_position_embeddings", 2048)))
        self._adapters = {name: read_adapter(path) for name, path in (adapters or {}).items()}
        if self._adapters:  # else nothing needs the hash of all weights
            check_base(self._adapters.values(), folder)
        attach(self.model, self._adapters)
        self._adapter: str | None = None
        self._ends = ends
        self._held: Ids = ()  # what the key-value cache holds
        self._cache = None

    def generate(self, requests: Iterator[Request | None]) -> Iterator[Chunk]:
        for request in requests:
            if request is None:
                continue
            self._use(request.adapter)
            room = room_for_answer(request, self.limits)
            reused = self._keep_common(request.prompt)
            yield from decode(request, room, request.prompt[reused:], reused, self._step, self._ends)

    def write(self, requests: Sequence[Request]) -> list[Written]:
        rooms = [room_for_answer(request, self.limits) for request in requests]
        written: dict[int, Written] = {}
        for adapter in dict.fromkeys(request.adapter for request in requests):
            self._use(adapter)
            rows = [row for row, request in enumerate(requests) if request.adapter == adapter]
            together = write_together(self.model, [requests[r] for r in rows], [rooms[r] for r in rows], self._ends)
            written |= zip(rows, together, strict=True)
        return [written[row] for row in range(len(requests))]

    def score(self, pairs: Sequence[tuple[Ids, Ids]], adapter: str | None = None) -> list[Scores]:
        self._use(adapter)
        for prompt, continuation in pairs:
            check_fits(len(prompt) + len(continuation), self.limits)
        return score(self.model, pairs)

    def choose(self, prompts: Sequence[Ids], trie: TokenTrie, adapter: str | None = None) -> NDArray[np.float64]:
        self._use(adapter)
        for prompt in prompts:
            check_fits(len(prompt) + trie.longest, self.limits)
        paths, branches = _paths(prompts), trie.branches()
        told: list[dict[Ids, dict[int, float]]] = [{} for _ in prompts]
        shared = sum(len(part) for path in paths[:1] for part in path[:-1])
        again = shared + sum(len(path[-1]) for path in paths)
        at_once = len(prompts) * sum(map(len, branches)) <= 2 * again  # else prompts are read once a level of labels
        while asked := [
            (row, branch)
            for row, branch in product(range(len(prompts)), branches)
            if branch not in told[row] and (at_once or trie.matters(branch, told[row]))
        ]:
            for row, branch, logits in self._at_branches(paths, asked, trie):
                told[row][branch] = trie.logprobs_at(branch, logits)
        return np.array([trie.answer_logprobs(at) for at in told]).reshape(len(prompts), len(trie.answers))

    def _at_branches(
        self, paths: Sequence[tuple[Ids, ...]], asked: Sequence[tuple[int, Ids]], trie: TokenTrie
    ) -> Iterator[tuple[int, Ids, Mapping[int, float]]]:
        """(row, branch, logits of what may follow it) of each that is asked."""
        examples = [
            Example(str(place), (*paths[row], (*branch, trie.allowed(branch)[0])), (*[False] * len(branch), True))
            for place, (row, branch) in enumerate(asked)
        ]
        among = tuple(sorted({token for _, branch in asked for token in trie.allowed(branch)}))
        column = {token: at for at, token in enumerate(among)}
        for places, _, logits in _logits(self.model, examples, among):
            for place, line in zip(places, logits, strict=True):
                row, branch = asked[int(place)]
                yield row, branch, {token: float(line[column[token]]) for token in trie.allowed(branch)}

    def _use(self, adapter: str | None) -> None:
        """Computes with `adapter` from now on; what another one computed is of no use."""
        if adapter == self._adapter:
            return
        check_adapter(adapter, self._adapters)
        use(self.model, adapter)
        self._adapter, self._held, self._cache = adapter, (), None

    def _keep_common(self, prompt: Ids) -> int:
        """Shrinks the cache to what it shares with `prompt`, which keeps at least one token to compute."""
        transformers = need("transformers", "train")
        shared = min(common_length(self._held, prompt), len(prompt) - 1)
        if self._cache is None or shared <= 0:
            self._cache, shared = transformers.DynamicCache(), 0
        elif shared < len(self._held):
            self._cache.crop(shared - len(self._held))
        self._held = prompt[:shared]
        return shared

    def _step(self, ids: Ids) -> NDArray[np.float32]:
        torch = need("torch", "train")
        with torch.inference_mode():
            output = self.model(
                input_ids=torch.tensor([ids]), past_key_values=self._cache, use_cache=True, logits_to_keep=1
            )
        self._held += ids
        logits: NDArray[np.float32] = output.logits[0, -1].float().numpy()
        return logits


def score(model: nn.Module, pairs: Sequence[tuple[Ids, Ids]]) -> list[Scores]:
    """Log-probabilities of each pair's second part after its first, by a model in memory, adapters inside or not."""
    examples = [
        Example(str(row), (*path, continuation), (True,) * len(continuation))
        for row, (path, (_, continuation)) in enumerate(
            zip(_paths([prompt for prompt, _ in pairs]), pairs, strict=True)
        )
    ]
    found: dict[str, list[float]] = {}
    for rows, ids, logits in _logits(model, examples):
        logprobs = logits - np.logaddexp.reduce(logits.astype(np.float64), axis=1, keepdims=True)
        for row, token, line in zip(rows, ids, logprobs, strict=True):
            found.setdefault(row, []).append(float(line[token]))
    return [Scores(tuple(found.get(str(row), ()))) for row in range(len(pairs))]


def _logits(
    model: nn.Module, examples: list[Example], among: Ids | None = None
) -> Iterator[tuple[list[str], list[int], NDArray[np.float32]]]:
    """(rows, target ids, (target, vocab) logits), batch by batch; logits of the tokens `among` only, if given."""
    torch = need("torch", "train")
    for batch in pack_for(model, by_length(examples), _PACKED_TOKENS):
        with torch.inference_mode():
            logits = target_logits(model, batch, among).numpy()
        yield [batch.rows[row] for row in batch.target_row.tolist()], batch.target_ids.tolist(), logits


def _paths(prompts: Sequence[Ids]) -> list[tuple[Ids, ...]]:
    """Each prompt as (what all share, the rest)."""
    shared = shared_prefix(prompts)
    shared -= any(len(prompt) == shared for prompt in prompts)
    return [(prompt[:shared], prompt[shared:]) if shared > 0 else (prompt,) for prompt in prompts]
