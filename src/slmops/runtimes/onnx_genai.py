"""The ONNX Runtime GenAI runtime: Foundry Local's own engine, on the CPU. Works on token ids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slmops.core.errors import ModelError, need
from slmops.models.adapters import onnx_adapters
from slmops.models.folder import check_model_folder, read_json
from slmops.runtimes.decoding import check_fits, common_length, decode, room_for_answer
from slmops.runtimes.trie import TokenTrie
from slmops.runtimes.types import Chunk, Ids, Limits, Request, Scores, Written, check_adapter, gather

_FIRST_WINDOW = 256  # tokens the key-value cache has room for at first; doubled when a request needs more


class OnnxRuntime:
    """An ONNX Runtime GenAI folder, with the adapters that stand in it and those given. One generator is kept and
    rewound, so that a shared prefix is computed once; another adapter needs a new one."""

    def __init__(
        self, folder: Path, *, ends: frozenset[int], threads: int = 0, adapters: Mapping[str, Path] | None = None
    ) -> None:
        self._genai = need("onnxruntime_genai", "onnx")
        check_model_folder(folder)
        options = {"session.intra_op.allow_spinning": "0"}  # a spinning thread steals the core of whoever comes next
        if threads:
            options["intra_op_num_threads"] = threads  # type: ignore[assignment]
        try:
            config = self._genai.Config(str(folder))
            config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
            self._model = self._genai.Model(config)
        except RuntimeError as error:
            raise ModelError(f"cannot be loaded: {error}", where=str(folder), remedy="convert it again") from error
        self.limits = Limits(int(read_json(folder / "genai_config.json")["model"]["context_length"]))
        self._files = onnx_adapters(folder, adapters or {})
        self._adapters = self._genai.Adapters(self._model)
        self._loaded: set[str] = set()
        self._adapter: str | None = None
        self._ends = ends
        self._generator: Any = None
        self._window = 0
        self._held: Ids = ()

    def generate(self, requests: Iterator[Request | None]) -> Iterator[Chunk]:
        for request in requests:
            if request is None:
                continue
            self._use(request.adapter)
            room = room_for_answer(request, self.limits)
            reused = self._prepare(request.prompt, room)
            yield from decode(request, room, request.prompt[reused:], reused, self._step, self._ends)

    def write(self, requests: Sequence[Request]) -> list[Written]:
        return [gather(self.generate(iter([request]))) for request in requests]

    def score(self, pairs: Sequence[tuple[Ids, Ids]], adapter: str | None = None) -> list[Scores]:
        self._use(adapter)
        scores = []
        for prompt, continuation in pairs:
            check_fits(len(prompt) + len(continuation), self.limits)
            waiting = prompt[self._prepare(prompt, len(continuation)) :]
            logprobs = []
            for token in continuation:
                logits = self._step(waiting).astype(np.float64)
                logprobs.append(float(logits[token] - np.logaddexp.reduce(logits)))
                waiting = (token,)
            scores.append(Scores(tuple(logprobs)))
        return scores

    def choose(self, prompts: Sequence[Ids], trie: TokenTrie, adapter: str | None = None) -> NDArray[np.float64]:
        self._use(adapter)
        logprobs = np.zeros((len(prompts), len(trie.answers)))
        for row, prompt in enumerate(prompts):
            check_fits(len(prompt) + trie.longest, self.limits)
            told: dict[Ids, dict[int, float]] = {}
            for branch in trie.branches():
                if trie.matters(branch, told):
                    path = prompt + branch
                    told[branch] = trie.logprobs_at(branch, self._step(path[self._prepare(path, 1) :]))
            logprobs[row] = trie.answer_logprobs(told)
        return logprobs

    def _use(self, adapter: str | None) -> None:
        """Computes with `adapter` from now on; what another one computed is of no use."""
        if adapter == self._adapter:
            return
        check_adapter(adapter, self._files)
        if adapter is not None and adapter not in self._loaded:
            try:
                self._adapters.load(str(self._files[adapter]), adapter)
            except RuntimeError as error:
                where = str(self._files[adapter])
                raise ModelError(f"cannot be loaded: {error}", where=where, remedy="convert it again") from error
            self._loaded.add(adapter)
        self._adapter, self._generator, self._held = adapter, None, ()

    def _prepare(self, prompt: Ids, more: int) -> int:
        """Rewinds to what is shared with `prompt`; returns how many of its tokens need not be computed."""
        needed = len(prompt) + more
        shared = min(common_length(self._held, prompt), len(prompt) - 1)
        if needed > self._window:
            self._window = min(self.limits.context, max(_FIRST_WINDOW, self._window * 2, needed))
            self._generator = None
        if self._generator is None:
            parameters = self._genai.GeneratorParams(self._model)
            parameters.set_search_options(max_length=self._window, batch_size=1, do_sample=False)
            self._generator, shared = self._genai.Generator(self._model, parameters), 0
            if self._adapter is not None:
                self._generator.set_active_adapter(self._adapters, self._adapter)
        elif shared < len(self._held):
            self._generator.rewind_to(shared)
        self._held = prompt[:shared]
        return shared

    def _step(self, ids: Ids) -> NDArray[np.float32]:
        try:
            self._generator.append_tokens(np.array(ids, dtype=np.int32))
        except RuntimeError as error:
            self._generator = None
            raise ModelError(f"ONNX Runtime cannot run this model: {error}", remedy="convert another one") from error
        self._held += ids
        logits: NDArray[np.float32] = self._generator.get_logits()[0, -1].astype(np.float32)
        return logits
