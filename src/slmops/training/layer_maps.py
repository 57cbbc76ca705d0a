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
    for layer, states in enumerate(student):
        least = follows.get(layer - 1, 0)
        follows[layer] = max(range(least, len(teacher)), key=lambda other: likeness(states, teacher[other]))
    return follows


def likeness(one: Tensor, other: Tensor) -> float:
    """Linear centred kernel alignment of (token, width) states, 0 to 1, whatever their widths (Kornblith et al. 2019,
    arXiv 1905.00414, section 3)."""
    one, other = (states.double() - states.double().mean(0) for states in (one, other))
    both = (other.T @ one).norm() ** 2
    return float(both / ((one.T @ one).norm() * (other.T @ other).norm()).clamp(min=_LEAST))
