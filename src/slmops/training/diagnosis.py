"""What went wrong with a training, in words: read from its curve, each fault with figures that show it and a remedy.

In come a curve and what guessing would cost; out come faults, none for a healthy run. What is compared are losses of
the same kind: of some rows that were learned (`seen_loss`) and of rows held out, before, during and at the end; and how
rows that were learned would fare had the weights gone half of their way, or twice as far. The limits were chosen on
the example's support messages and on GSM8K; how often they are right elsewhere: benchmarks/diagnosis.py. Knows no model
and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from slmops.training.curve import Point

FaultName = Literal[
    "divergence",
    "learning rate too high",
    "learning rate too low",
    "under-fitting",
    "over-fitting",
    "too little data",
    "label noise",
    "truncated answers",
    "no end token",
]

_SMOOTH = 3  # points of the curve whose mean is looked at
_ROSE = 0.5  # of the loss at the beginning
_ANY = 0.005  # of the loss at the beginning: less may be rounding
_KNOWN = 0.4  # of what guessing costs, saved on rows that were learned
_GAINED = 0.12  # of what answers cost at the beginning, where they are written freely
_FURTHER = 0.3  # of what was gained on the whole way, by going as far again
_CARRIED = 0.65  # of what was gained on rows that were learned, on others
_LOST = 0.1  # of what had been gained on rows held out


@dataclass(frozen=True)
class Fault:
    """What is wrong, the figures that show it, and what to do about it."""

    name: FaultName
    shown_by: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.shown_by} — {self.remedy}"


@dataclass(frozen=True)
class _Look:
    """Losses of rows that were learned and of rows held out; the former twice where there are none of these."""

    step: int
    seen: float
    held_out: float


def diagnose(curve: Sequence[Point], guessing: float | None = None) -> list[Fault]:
    """The faults of a training that has ended, the gravest first. `guessing` is what a target token costs whoever knows
    the answers but not the texts (nats), where answers are of a closed set."""
    looks = _looks(curve)
    if not looks or not curve[-1].along:
        return []
    if faults := unstable(curve, guessing):
        return faults
    knowing_nothing = _knowing_nothing(looks, guessing)
    if fault := _learned_too_little(looks, curve[-1].along[1], guessing):
        return [fault]
    return [fault for fault in (_lost_again(looks), _carried_over(looks, knowing_nothing)) if fault]


def unstable(curve: Sequence[Point], guessing: float | None = None) -> list[Fault]:
    """The faults of a training that can be told while it runs: what it had learned is lost, for steps are too large."""
    losses = [point.loss for point in curve if point.step]
    means = [sum(losses[at : at + _SMOOTH]) / _SMOOTH for at in range(len(losses) - _SMOOTH + 1)]
    looks = _looks(curve)
    if not means or not looks:
        return []
    lowest, fell_to, rose_to = means[0], means[0], means[0]
    for mean in means:
        lowest = min(lowest, mean)
        if mean - lowest > rose_to - fell_to:
            fell_to, rose_to = lowest, mean
    begin, now = looks[0], looks[-1]
    worse = now.held_out > 1.1 * begin.held_out and now.seen > begin.seen
    if rose_to - fell_to <= _ROSE * max(losses[0], begin.seen) and not worse:
        return []
    lower = "take a tenth of the learning_rate, or a longer warmup"
    rose = f"the training loss rose from {fell_to:.2f} to {rose_to:.2f}" if rose_to > fell_to else "it learned nothing"
    faults = [Fault("learning rate too high", rose, lower)]
    nothing = _knowing_nothing(looks, guessing)
    if now.held_out >= nothing.held_out:
        ended = f"answers now cost {now.held_out:.2f} nats a token, {nothing.held_out:.2f} when it knew nothing"
        faults.insert(0, Fault("divergence", ended, lower))
    return faults


def over_fitting(curve: Sequence[Point]) -> list[Fault]:
    """The same, for one that has learned all that it can: since then, rows held out are answered worse."""
    fault = _lost_again(_looks(curve))
    return [fault] if fault else []


def _looks(curve: Sequence[Point]) -> list[_Look]:
    found = [(point.step, point.seen_loss, point.validation_loss) for point in curve]
    return [_Look(step, seen, seen if other is None else other) for step, seen, other in found if seen is not None]


def _knowing_nothing(looks: Sequence[_Look], guessing: float | None) -> _Look:
    """What answers cost before anything was learned; or, if less, by guessing."""
    begin = looks[0]
    most = float("inf") if guessing is None else guessing
    return _Look(0, min(begin.seen, most), min(begin.held_out, most))


def _learned_too_little(looks: Sequence[_Look], twice_as_far: float, guessing: float | None) -> Fault | None:
    begin, now = looks[0], looks[-1]
    gained, more = begin.seen - now.seen, now.seen - twice_as_far
    cost = f"rows that were learned cost {now.seen:.2f} nats a token, {begin.seen:.2f} before"
    known = guessing is not None and now.seen <= (1 - _KNOWN) * guessing
    still = max(abs(gained), abs(more)) < _ANY * begin.seen
    if not known and (still or (more > _ANY * begin.seen and more >= gained)):
        further = f"{cost}; twice as far in the same direction it would be {twice_as_far:.2f}"
        return Fault("learning rate too low", further, "take ten times the learning_rate")
    remedy = "more epochs, a higher rank, more upper_layers, or a larger model"
    if guessing is not None:
        return None if known else Fault("under-fitting", f"{cost}; guessing costs {guessing:.2f}", remedy)
    if gained < _GAINED * begin.seen or more > _FURTHER * gained:
        return Fault("under-fitting", cost, remedy)
    return None


def _lost_again(looks: Sequence[_Look]) -> Fault | None:
    if len(looks) < 3:
        return None
    begin, now, best = looks[0], looks[-1], min(looks, key=lambda look: look.held_out)
    lost = now.held_out - best.held_out
    if now.seen < best.seen and lost > _LOST * (begin.held_out - best.held_out) and lost > _ANY * begin.held_out:
        rose = (
            f"rows held out were best at step {best.step:,} ({best.held_out:.2f} nats a token), now {now.held_out:.2f}"
        )
        return Fault("over-fitting", rose, "fewer epochs, or patience: 2, which keeps the best weights")
    return None


def _carried_over(looks: Sequence[_Look], nothing: _Look) -> Fault | None:
    best = min(looks[1:], key=lambda look: look.held_out)
    gained, on_others = nothing.seen - best.seen, nothing.held_out - best.held_out
    if gained <= 0 or on_others >= _CARRIED * gained:
        return None
    apart = f"rows that were learned cost {best.seen:.2f} nats a token, others {best.held_out:.2f}"
    return Fault("too little data", apart, "more rows: label more, or let slmops data augment vary them")
