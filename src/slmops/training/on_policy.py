"""On-policy distillation: the student writes, the teacher says what it would have said at each of its tokens.

What a student learns from others' texts it must bear on its own, where one odd word leads to the next. So a share of
each step's rows has, in place of their answer, what the student writes at that moment (generalised knowledge
distillation: Agarwal et al. 2023, arXiv 2306.13649, algorithm 1). Knows no runtime: who writes comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from slmops.models.packing import Batch, Example
from slmops.models.tokenizer import Ids
from slmops.training.losses import Taught
from slmops.training.targets import teacher_logprobs

if TYPE_CHECKING:
    from torch import nn

Write = Callable[["nn.Module", Sequence[Ids], int], list[Ids]]  # model, prompts, seed → answers with their end token
OWN = "#own"  # behind the name of a row that the student has answered


@dataclass(frozen=True)
class OnPolicy:
    """A `ratio` of rows has its answer written by the student; `teacher` scores it behind its own prompt of that row
    (`prompts`), and the `k` likeliest tokens are learned at `temperature`. `vocabulary` is which of the teacher's
    tokens each of the student's stands for, where these are not the same."""

    ratio: float
    write: Write
    teacher: nn.Module
    prompts: Mapping[str, Ids]
    k: int
    temperature: float
    max_tokens: int
    vocabulary: Sequence[int | None] | None = None

    def rows_of_step(self, model: nn.Module, examples: Sequence[Example], seed: tuple[int, int]) -> list[Example]:
        """The step's examples, some with an answer of the model's own. One that answers several times keeps its, and so
        does one whose new answer has a token that the teacher lacks."""
        chance = np.random.default_rng((*seed, 1))
        drawn = [at for at, example in enumerate(examples) if _answers_once(example) and chance.random() < self.ratio]
        if not drawn:
            return list(examples)
        written = self.write(model, [_prompt(examples[at]) for at in drawn], int(chance.integers(2**31)))
        answered = zip(drawn, written, strict=True)
        own = {at: _with_answer(examples[at], answer) for at, answer in answered if None not in self._renamed(answer)}
        return [own.get(at, example) for at, example in enumerate(examples)]

    def teach(self, cached: Callable[[Batch], Taught]) -> Callable[[Batch], Taught]:
        """A teacher of both: from the cache what it knows, from the model what the student wrote."""

        def taught(batch: Batch) -> Taught:
            is_own = [batch.rows[row].endswith(OWN) for row in batch.target_row.tolist()]
            if not any(is_own):
                return cached(batch)
            return self._both(cached, batch, np.array(is_own))

        return taught

    def _both(self, cached: Callable[[Batch], Taught], batch: Batch, is_own: np.ndarray) -> Taught:
        import torch

        live = self._score(batch, is_own)
        known = cached(_only(batch, ~is_own)) if not is_own.all() else None
        k = max(live.ids.shape[1], known.ids.shape[1] if known else 0)
        ids = torch.zeros(len(is_own), k, dtype=torch.long)
        logprobs, trusted = torch.full((len(is_own), k), -torch.inf), torch.zeros(len(is_own))
        for part, at in ((live, is_own), (known, ~is_own)):
            if part is not None:
                where = torch.from_numpy(np.flatnonzero(at))
                ids[where, : part.ids.shape[1]] = part.ids
                logprobs[where, : part.ids.shape[1]] = part.logprobs
                trusted[where] = part.trusted
        return Taught(ids, logprobs, trusted, self.temperature)

    def _score(self, batch: Batch, is_own: np.ndarray) -> Taught:
        """What the teacher says of the answers that the student wrote, in the order of the batch's targets; none is
        trusted."""
        import torch

        answers: dict[int, list[int]] = {}
        for row, token, own in zip(batch.target_row.tolist(), batch.target_ids.tolist(), is_own, strict=True):
            if own:
                answers.setdefault(row, []).append(token)
        asked = [
            _example(batch.rows[row], self.prompts[batch.rows[row].removesuffix(OWN)], self._known(answer))
            for row, answer in answers.items()
        ]
        said = teacher_logprobs(self.teacher, asked, self.temperature, self.max_tokens, self.vocabulary)
        logprobs = torch.cat([logprobs for _, logprobs in said]).float()
        likeliest, ids = logprobs.topk(min(self.k, logprobs.shape[1]), dim=-1)
        return Taught(ids, likeliest, torch.zeros(len(ids)), self.temperature)

    def _renamed(self, answer: Sequence[int]) -> list[int | None]:
        """The student's tokens as the teacher calls them."""
        return [token if self.vocabulary is None else self.vocabulary[token] for token in answer]

    def _known(self, answer: Sequence[int]) -> Ids:
        return tuple(token for token in self._renamed(answer) if token is not None)


def _answers_once(example: Example) -> bool:
    """Whether what is learned is one answer, at the end."""
    return not any(example.learn[: len(example.learn) - sum(example.learn)])


def _prompt(example: Example) -> Ids:
    whole = tuple(token for segment in example.path for token in segment)
    return whole[: len(whole) - sum(example.learn)]


def _with_answer(example: Example, answer: Ids) -> Example:
    own = example.path[-1][: example.learn.index(True)]
    learn = (False,) * len(own) + (True,) * len(answer)
    return Example(example.row + OWN, (*example.path[:-1], own + answer), learn)


def _example(row: str, prompt: Ids, answer: Ids) -> Example:
    return Example(row, (prompt + answer,), (False,) * len(prompt) + (True,) * len(answer))


def _only(batch: Batch, at: np.ndarray) -> Batch:
    """The batch with some of its targets."""
    import torch

    where = torch.from_numpy(np.flatnonzero(at))
    names = ("target_at", "target_ids", "target_row", "target_offset")
    return replace(batch, **{name: getattr(batch, name)[where] for name in names})
