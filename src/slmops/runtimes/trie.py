"""A closed set of answers as a token trie: decoding along it cannot leave the set. Works on token ids only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Ids = tuple[int, ...]
Logits = NDArray[np.float32] | Mapping[int, float]  # at least of the tokens that may follow
Told = Mapping[Ids, Mapping[int, float]]  # at each branch that was asked, log-probabilities of what may follow
_NEGLIGIBLE = 1e-5  # what is told of a label's probability has five digits


class TokenTrie:
    """The paths of `answers` (token ids, each without an end token). A node with one child costs no model step.

    Where one answer begins another, `end` (the model's end token) is what tells them apart.
    """

    def __init__(self, answers: Iterable[Ids], end: int) -> None:
        self.answers = tuple(dict.fromkeys(answers))
        self.end = end
        children: dict[Ids, set[int]] = {}
        for answer in self.answers:
            for length, token in enumerate(answer):
                children.setdefault(answer[:length], set()).add(token)
        for answer in self.answers:
            if answer in children:
                children[answer].add(end)
        self._children = {written: tuple(sorted(tokens)) for written, tokens in children.items()}

        self.longest = max(map(len, self.answers), default=0)

    def fresh(self) -> TokenTrie:
        """Itself: it remembers nothing of an answer."""
        return self

    def allowed(self, written: Ids) -> Ids:
        """Token ids that may follow `written`, in ascending order; empty when the answer is complete."""
        return self._children.get(written, ())

    def branches(self) -> list[Ids]:
        """What may have been written where more than one token can follow, shortest first."""
        return sorted((written for written, tokens in self._children.items() if len(tokens) > 1), key=len)

    def logprobs_at(self, branch: Ids, logits: Logits) -> dict[int, float]:
        """Log-probability of each token that may follow `branch`, nothing else being possible, by the logits there."""
        among = self.allowed(branch)
        chosen = np.array([logits[token] for token in among], dtype=np.float64)
        shifted = chosen - chosen.max()
        return dict(zip(among, (shifted - np.log(np.exp(shifted).sum())).tolist(), strict=True))

    def matters(self, branch: Ids, told: Told) -> bool:
        """Whether likely tokens, or the likeliest ones, lead to `branch`, by what is told at shorter ones."""
        reached, likeliest = 0.0, True
        for length, token in enumerate(branch):
            if len(self._children[branch[:length]]) > 1:
                if branch[:length] not in told:
                    return False
                logprobs = told[branch[:length]]
                reached += logprobs[token]
                likeliest = likeliest and logprobs[token] == max(logprobs.values())
        return likeliest or reached > math.log(_NEGLIGIBLE)

    def follow(self, answer_logprobs: NDArray[np.float64]) -> Ids:
        """The answer that always taking the likeliest token leads to, from the (answer,) log-probabilities of all."""
        possible = list(range(len(self.answers)))
        while len(possible) > 1:
            length = next(n for n in range(self.longest + 1) if len({self._token(row, n) for row in possible}) > 1)
            mass: dict[int, float] = {}
            for row in possible:
                token = self._token(row, length)
                mass[token] = float(np.logaddexp(mass.get(token, -np.inf), answer_logprobs[row]))
            best = max(sorted(mass), key=lambda token: mass[token])
            possible = [row for row in possible if self._token(row, length) == best]
        return self.answers[possible[0]]

    def _token(self, row: int, length: int) -> int:
        answer = self.answers[row]
        return answer[length] if length < len(answer) else self.end

    def answer_logprobs(self, told: Told) -> NDArray[np.float64]:
        """(answer,) log-probabilities from what is told at every branch that matters: beyond another, all tokens are
        alike. They sum to one over the set."""
        logprobs = {
            written: told.get(written) or dict.fromkeys(children, -math.log(len(children)))
            for written, children in self._children.items()
            if len(children) > 1
        }
        totals = np.zeros(len(self.answers))
        for row, answer in enumerate(self.answers):
            path = (*answer, self.end)
            for length in range(len(path)):
                if path[:length] in logprobs:
                    totals[row] += logprobs[path[:length]].get(path[length], 0.0)
        return totals
