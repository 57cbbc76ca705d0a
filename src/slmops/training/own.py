"""A loss or a callback of the user's own, checked at every call: what it does wrong is told with its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from slmops.core.errors import SlmopsError
from slmops.core.named import call_named, load_named
from slmops.training.config import TrainConfig
from slmops.training.curve import Point
from slmops.training.losses import Taught, TokenLoss, cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


def gold_loss(config: TrainConfig) -> TokenLoss:
    """The loss of the answer itself: cross-entropy, or `module:name` of the user's own, which gets (target, vocab)
    logits and (target,) ids, and returns one value a target."""
    if config.loss == "cross_entropy":
        return partial(cross_entropy, label_smoothing=config.label_smoothing)
    own = load_named(config.loss, "train.loss")

    def checked(logits: Tensor, target_ids: Tensor, taught: Taught | None) -> Tensor:
        value = call_named(config.loss, "train.loss", own, logits, target_ids)
        shape = tuple(getattr(value, "shape", ())) if hasattr(value, "requires_grad") else None
        if shape != tuple(target_ids.shape):
            found = f"a tensor of shape {shape}" if shape is not None else f"a {type(value).__name__}"
            expected = f"{tuple(target_ids.shape)}, one value a target"
            raise SlmopsError(f"{config.loss} returned {found}, expected {expected}", where="train.loss")
        if logits.requires_grad and not value.requires_grad:
            raise SlmopsError(f"{config.loss} does not depend on the logits", where="train.loss", remedy="use them")
        wrong = ~value.isfinite()
        if wrong.any() and logits.isfinite().all():
            found = f"{value[wrong][0].item()} for {int(wrong.sum())} of {len(value)} targets, whose logits are finite"
            raise SlmopsError(
                f"{config.loss} returned {found}", where="train.loss", remedy="mend it: a log of 0, a division by it?"
            )
        return value if taught is None else value * taught.trusted

    return checked


def told(callbacks: Sequence[str], goes_on: Callable[[Sequence[Point]], bool]) -> Callable[[Sequence[Point]], bool]:
    """Goes on as long as `goes_on` does and no callback returned False for the newest point."""
    named = [(name, load_named(name, "train.callbacks")) for name in callbacks]

    def ask(curve: Sequence[Point]) -> bool:
        answers = [call_named(name, "train.callbacks", callback, curve[-1]) for name, callback in named]
        return goes_on(curve) and not any(answer is False for answer in answers)

    return ask
