"""What went wrong with a training, in words: read from its curve, each fault with figures that show it and a remedy.

In come a curve and how it was learned; out come faults, none for a healthy run. What is compared are losses of the same
kind: of some rows that were learned (`seen_loss`) and of rows held out, before, during and at the end; and how rows
that were learned would fare had the weights gone twice as far. The limits were chosen on the example's support messages
and on GSM8K; how often they are right elsewhere: benchmarks/diagnosis.py. Knows no model and no file.
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
    "drowned loss",
]

_SMOOTH = 3  # points of the curve whose mean is looked at
_ROSE = 0.5  # of the loss at the beginning
_ANY = 0.005  # of the loss at the beginning: less may be rounding
_FLOOR = 0.05  # nats a token: of what is known so well, a difference tells nothing
_KNOWN = 0.4  # of what guessing costs, saved on rows that were learned
_FURTHER = 0.3  # of what was gained on the whole way, by going as far again
_STEEP, _BY_HEART = 2.0, 0.25  # times what answers cost at the beginning
_CARRIED = 0.65  # of what was gained on rows that were learned, on others
_LOST = 0.1  # of what had been gained on rows held out
_DROWNED = 0.01  # of the largest term's gradient, at every look


@dataclass(frozen=True)
class Fault:
    """What is wrong, the figures that show it, and what to do about it."""

    name: FaultName
    shown_by: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.shown_by} — {self.remedy}"


@dataclass(frozen=True)
class Course:
    """How it was learned. `guessing` is what a target token costs whoever knows the answers but not the texts (nats),
    where answers are of a closed set. Looks before `first_step` are of another kind, because rounding began there.
    Where the best weights are kept, it is no fault that later ones are worse."""

    guessing: float | None = None
    first_step: int = 0
    keeps_best: bool = False


@dataclass(frozen=True)
class _Look:
    """Losses of rows that were learned and of rows held out; the former twice where there are none of these."""

    step: int
    seen: float
    held_out: float


def diagnose(curve: Sequence[Point], course: Course = Course()) -> list[Fault]:
    """The faults of a training that has ended, the gravest first."""
    return [*_of_its_course(curve, course), *_drowned(curve)]


def _of_its_course(curve: Sequence[Point], course: Course) -> list[Fault]:
    looks = _looks(curve, course)
    if len(looks) < 2 or curve[-1].twice_as_far is None:
        return []
    if faults := _unstable(curve, looks, course):
        return faults
    if faults := _learned_too_little(looks, curve[-1].twice_as_far, course.guessing):
        return faults
    if fault := _overshot(looks, curve[-1].twice_as_far):
        return [fault]
    found = (_lost_again(looks, course), _carried_over(looks, course.guessing))
    return [fault for fault in found if fault]


def watch(curve: Sequence[Point], course: Course = Course()) -> list[Fault]:
    """Those that can be told while it runs: what it had learned is lost, or rows held out fare ever worse."""
    looks = _looks(curve, course)
    if len(looks) < 2:
        return []
    lost = _lost_again(looks, course)
    return _unstable(curve, looks, course) or ([lost] if lost else [])


def _drowned(curve: Sequence[Point]) -> list[Fault]:
    """Terms of a loss that never pull a hundredth as hard as the strongest one."""
    told = [point.gradients for point in curve if point.gradients]
    shares = {
        name: max(norms[name] / max(norms.values()) for norms in told)
        for name in (told[0] if told else ())
        if all(max(norms.values()) > 0 for norms in told)
    }
    strongest = max(told[-1], key=lambda name: told[-1][name]) if told else ""
    return [
        Fault(
            "drowned loss",
            f"the gradient of {name} is at most {share:.1%} of {strongest}'s: it teaches nothing",
            f"give {name} more weight, {strongest} less, or remove it",
        )
        for name, share in shares.items()
        if share < _DROWNED
    ]


def _looks(curve: Sequence[Point], course: Course) -> list[_Look]:
    """The one before anything was learned, and those that can be compared with one another."""
    found = [(point.step, point.seen_loss, point.validation_loss) for point in curve]
    looks = [_Look(step, seen, seen if other is None else other) for step, seen, other in found if seen is not None]
    return looks[:1] + [look for look in looks[1:] if look.step >= course.first_step]


def _knowing_nothing(begin: _Look, guessing: float | None) -> _Look:
    """What answers cost before anything was learned; or, if less, by guessing."""
    most = float("inf") if guessing is None else guessing
    return _Look(0, min(begin.seen, most), min(begin.held_out, most))


def _unstable(curve: Sequence[Point], looks: Sequence[_Look], course: Course) -> list[Fault]:
    """Steps so large that the loss rises. A point that a few rows made leap tells of these rows, not of the steps."""
    losses = [point.loss for point in curve if point.step and not point.rows]
    means = [sum(losses[at : at + _SMOOTH]) / _SMOOTH for at in range(len(losses) - _SMOOTH + 1)]
    begin, now = looks[0], looks[-1]
    lowest = fell_to = rose_to = losses[0] if losses else 0.0
    for mean in means:
        lowest = min(lowest, mean)
        if mean - lowest > rose_to - fell_to:
            fell_to, rose_to = lowest, mean
    worse = now.held_out > begin.held_out + max(0.1 * begin.held_out, _FLOOR) and now.seen > begin.seen + _FLOOR
    rose = bool(losses) and rose_to - fell_to > max(_ROSE * max(losses[0], begin.seen), _FLOOR)
    if not rose and not worse:
        return []
    lower = "take a tenth of the learning_rate, or a longer warmup"
    shown = f"the training loss rose from {fell_to:.2f} to {rose_to:.2f}" if rose else "it knows less than before"
    faults = [Fault("learning rate too high", shown, lower)]
    nothing = _knowing_nothing(begin, course.guessing)
    if now.held_out >= max(nothing.held_out, _FLOOR):
        ended = f"answers now cost {now.held_out:.2f} nats a token, {nothing.held_out:.2f} when it knew nothing"
        faults.insert(0, Fault("divergence", ended, lower))
    return faults


def _overshot(looks: Sequence[_Look], twice_as_far: float) -> Fault | None:
    """Steps that are nearly too large: the weights went so far that as far again would ruin all that was ever known."""
    begin, by_heart = looks[0].seen, looks[-1].seen < _BY_HEART * looks[0].seen  # what many epochs lead far to
    if by_heart or twice_as_far <= _STEEP * max(begin, 1.0):
        return None
    shown = f"twice as far in the same direction rows would cost {twice_as_far:.2f} nats a token, {begin:.2f} before"
    return Fault("learning rate too high", shown, "take a third of the learning_rate")


def _learned_too_little(looks: Sequence[_Look], twice_as_far: float, guessing: float | None) -> list[Fault]:
    """That rows which were learned are hardly known; and that steps were too small, where the same way leads on."""
    begin, now = looks[0], looks[-1]
    gained, more = begin.seen - now.seen, now.seen - twice_as_far
    known = now.seen <= (_FLOOR if guessing is None else max(_FLOOR, (1 - _KNOWN) * guessing))
    if known:
        return []
    cost = f"rows that were learned cost {now.seen:.2f} nats a token, {begin.seen:.2f} before"
    would = f"{cost}; twice as far in the same direction it would be {twice_as_far:.2f}"
    goes_on = more > _ANY * begin.seen
    still = max(abs(gained), abs(more)) < _ANY * begin.seen
    too_small = still or (goes_on and more >= gained)
    faults = []
    if guessing is not None or too_small or (goes_on and more > _FURTHER * gained):
        shown = would if guessing is None else f"{cost}; guessing costs {guessing:.2f}"
        remedy = "more epochs, a higher rank, more upper_layers, or a larger model"
        faults.append(Fault("under-fitting", shown, remedy))
    if too_small:
        faults.insert(0, Fault("learning rate too low", would, "take ten times the learning_rate"))
    return faults


def _lost_again(looks: Sequence[_Look], course: Course) -> Fault | None:
    begin, now, best = looks[0], looks[-1], min(looks, key=lambda look: look.held_out)
    lost = now.held_out - best.held_out
    enough = max(_LOST * (begin.held_out - best.held_out), _FLOOR)
    if course.keeps_best or len(looks) < 3 or now.seen >= best.seen or lost <= enough:
        return None
    rose = f"rows held out were best at step {best.step:,} ({best.held_out:.2f} nats a token), now {now.held_out:.2f}"
    return Fault("over-fitting", rose, "fewer epochs, or patience: 2, which keeps the best weights")


def _carried_over(looks: Sequence[_Look], guessing: float | None) -> Fault | None:
    nothing, best = _knowing_nothing(looks[0], guessing), min(looks[1:], key=lambda look: look.held_out)
    gained, on_others = nothing.seen - best.seen, nothing.held_out - best.held_out
    if gained <= _FLOOR or on_others >= _CARRIED * gained:
        return None
    apart = f"rows that were learned cost {best.seen:.2f} nats a token, others {best.held_out:.2f}"
    return Fault("too little data", apart, "more rows: label more, or let slmops data augment vary them")
