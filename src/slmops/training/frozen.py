"""Hidden states beneath the layers that learn: computed once for every example, since nothing below them changes.

In come a model and the examples that it will read again and again; out come last hidden states of any batch of them.
The states lie in a file that is mapped into memory: they may be many. Knows no loss and no optimizer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from slmops.core.errors import need
from slmops.core.files import reserve
from slmops.models.forward import can_begin_between_layers, decoder_layers, keeps_apart, last_states, run_layers
from slmops.models.packing import Batch, Example, by_length, pack
from slmops.models.packing import Path as Segments

if TYPE_CHECKING:
    from torch import Tensor, nn

_TOKENS = 2048  # of a packed sequence: nothing is kept for a backward pass, so it may be long


def frozen_layers(model: nn.Module) -> int:
    """How many of the lowest layers there are in and below which nothing learns, and above which the model can be
    begun, where packed rows stay apart. The last one is never counted."""
    return lowest_learning(model) if can_begin_between_layers(model) and keeps_apart(model) else 0


def lowest_learning(model: nn.Module) -> int:
    """The lowest layer through which a gradient passes: one that learns or lies above what does; else the last one."""
    if _learns(model.get_input_embeddings()):
        return 0
    layers = decoder_layers(model)
    return next((count for count, layer in enumerate(layers) if _learns(layer)), len(layers) - 1)


def _learns(part: nn.Module) -> bool:
    return any(weight.requires_grad for weight in part.parameters())


class Reader:
    """Reads batches of `examples` with a model whose lower layers stay as they are."""

    def __init__(
        self,
        model: nn.Module,
        examples: Sequence[Example],
        folder: Path,
        report: Callable[[float], None],
        neftune_alpha: float = 0.0,
    ) -> None:
        self._model, self._neftune_alpha = model, neftune_alpha
        self._frozen = 0 if neftune_alpha else frozen_layers(model)  # noise changes what all layers read
        self._starts: dict[Segments, int] = {}
        if self._frozen:
            self._states = self._read(examples, folder, report)

    def last_states(self, batch: Batch) -> Tensor:
        """(sequence · time, width) last hidden states."""
        if not self._frozen and self._neftune_alpha and self._model.training:
            return run_layers(self._model, batch, _noisy_embeddings(self._model, batch, self._neftune_alpha))
        if not self._frozen:
            return last_states(self._model, batch)
        torch = need("torch", "train")
        if any(path not in self._starts for paths in batch.paths for path in paths):  # just written, so never read
            with torch.no_grad():
                below = run_layers(self._model, batch, batch.ids, slice(self._frozen)).unflatten(0, batch.ids.shape)
            return run_layers(self._model, batch, below, slice(self._frozen, None))
        at = np.zeros(batch.ids.shape, dtype=np.int64)
        for row, paths in zip(at, batch.paths, strict=True):
            laid = [np.arange(self._starts[path], self._starts[path] + len(path[-1])) for path in paths]
            row[: sum(map(len, laid))] = np.concatenate(laid)
        below = self._states.index_select(0, torch.from_numpy(at).flatten()).unflatten(0, at.shape)
        return run_layers(self._model, batch, below, slice(self._frozen, None))

    def _read(self, examples: Sequence[Example], folder: Path, report: Callable[[float], None]) -> Tensor:
        """(token, width) states below the first layer that learns, of every segment behind its ancestors; those that
        stand in `folder` if the same were read before."""
        torch = need("torch", "train")
        tokens = 0
        for example in examples:
            for depth in range(1, len(example.path) + 1):
                if example.path[:depth] not in self._starts:
                    self._starts[example.path[:depth]] = tokens
                    tokens += len(example.path[depth - 1])
        weight = self._model.get_input_embeddings().weight
        size, file = tokens * weight.shape[1], folder / f"{self._identity()}.bin"
        part = file if file.is_file() else file.with_suffix(".part")
        if part != file:
            reserve(part, size * weight.element_size())
        states: Tensor = torch.from_file(str(part), shared=True, size=size, dtype=weight.dtype).view(tokens, -1)
        if part != file:
            self._fill(states, examples, report)
            part.rename(file)
        return states

    def _fill(self, states: Tensor, examples: Sequence[Example], report: Callable[[float], None]) -> None:
        torch, done = need("torch", "train"), 0
        unique = list({example.path: example for example in examples}.values())
        for batch in pack(by_length(unique), _TOKENS):
            with torch.inference_mode():
                found = run_layers(self._model, batch, batch.ids, slice(self._frozen))
            start = 0
            for path in batch.paths[0]:
                length = len(path[-1])
                states[self._starts[path] : self._starts[path] + length] = found[start : start + length]
                start += length
            done += len(set(batch.rows))
            report(done / len(unique))

    def _identity(self) -> str:
        """What decides the states: the segments in their order, the weights that read them; and since when the machine
        is up, because what was written just before it went down may be lost."""
        found = hashlib.sha256(f"{self._frozen} {psutil.boot_time():.0f}".encode())
        for path in self._starts:
            found.update(np.array([self._starts.get(path[:-1], -1), *path[-1]]).tobytes())
        parts = (self._model.get_input_embeddings(), *decoder_layers(self._model)[: self._frozen])
        for weight in (weight for part in parts for weight in (*part.parameters(), *part.buffers())):
            found.update(weight.detach().flatten().view(need("torch", "train").uint8).numpy())
        return found.hexdigest()[:32]


def _noisy_embeddings(model: nn.Module, batch: Batch, alpha: float) -> Tensor:
    """(sequence, time, width) embeddings with uniform noise of α / √(length · width) (NEFTune: Jain et al. 2023, arXiv
    2310.05914, algorithm 1); a token's length is that of the text from the beginning to the end of its segment."""
    import torch

    embedded: Tensor = model.get_input_embeddings()(batch.ids)
    lengths = torch.ones(len(batch.ids), batch.parents.shape[1], dtype=torch.long)
    lengths = lengths.scatter_reduce(1, batch.segments.clamp(min=0), batch.positions + 1, "amax")
    sizes = lengths.gather(1, batch.segments.clamp(min=0)) * embedded.shape[-1]
    noise = torch.empty_like(embedded).uniform_(-1, 1)
    return embedded + noise * (alpha / sizes.sqrt()).to(embedded.dtype)[:, :, None]
