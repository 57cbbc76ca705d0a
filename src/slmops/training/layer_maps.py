"""Which of the teacher's layers each of the student's follows. Knows no model: what was computed comes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-9


def uniform_layers(count: int, of_teacher: int) -> dict[int, int]:
    """Each of `count` layers follows the last of its share of the teacher's (Sun et al. 2019, arXiv 1908.09355, section
    3.2, "skip")."""
    return {layer: round((layer + 1) * of_teacher / count) - 1 for layer in range(count)}


def last_layers(count: int, of_teacher: int) -> dict[int, int]:
    """They follow the teacher's last ones, in their order (Sun et al. 2019, "last")."""
    return {layer: of_teacher - count + layer for layer in range(count)}


def similar_layers(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> dict[int, int]:
    """Each layer follows the one that it is most like as it begins, none beneath that of the layer before; in come the
    (token, width) states of all layers of both."""
    follows: dict[int, int] = {}
    others = [_Centred(states) for states in teacher]
    for layer, states in enumerate(student):
        own, least = _Centred(states), follows.get(layer - 1, 0)
        follows[layer] = max(range(least, len(others)), key=lambda other: own.likeness(others[other]))
    return follows


def likeness(one: Tensor, other: Tensor) -> float:
    """Linear centred kernel alignment of (token, width) states, 0 to 1, whatever their widths (Kornblith et al. 2019,
    arXiv 1905.00414, section 3)."""
    return _Centred(one).likeness(_Centred(other))


class _Centred:
    """States without their mean, and the norm of their products with themselves."""

    def __init__(self, states: Tensor) -> None:
        self.states = states.float() - states.float().mean(0)
        few = self.states if len(states) < states.shape[1] else self.states.T
        self.norm = float((few @ few.T).norm())

    def likeness(self, other: _Centred) -> float:
        both = float((other.states.T @ self.states).norm()) ** 2
        return both / max(_LEAST, self.norm * other.norm)
