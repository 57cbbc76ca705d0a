"""A cache says how far its gradients are off."""

from __future__ import annotations

import pytest
import torch

from slmops.training.certificate import certify
from slmops.training.losses import forward_kl, mix, reverse_kl

TARGETS, VOCABULARY = 40, 60
IDS = torch.zeros(TARGETS, dtype=torch.long)


def logits(seed: int) -> torch.Tensor:
    return torch.randn(TARGETS, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 2


TEACHER = torch.log_softmax(logits(0) / 2, -1)


def test_the_whole_vocabulary_is_nearly_exact() -> None:
    [found] = certify([("top", VOCABULARY)], TEACHER, logits(1), IDS, forward_kl, 2.0, 7)
    assert found.error < 0.01
    assert found.bias == pytest.approx(found.error)
    assert found.total_variation < 0.01
    assert (found.k, found.bytes_per_target, found.targets) == (VOCABULARY, VOCABULARY * 4, TARGETS)


@pytest.mark.parametrize("loss", [forward_kl, reverse_kl, mix({"forward_kl": 0.9, "cross_entropy": 0.1})])
def test_fewer_tokens_are_further_off(loss: object) -> None:
    ways = [("top", k) for k in (1, 4, 16, VOCABULARY)]
    errors = [found.error for found in certify(ways, TEACHER, logits(1), IDS, loss, 2.0, 7)]  # type: ignore[arg-type]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1


def test_what_the_top_leaves_out_is_bias_and_what_is_drawn_is_noise() -> None:
    [top] = certify([("top", 4)], TEACHER, logits(1), IDS, forward_kl, 2.0, 7)
    [drawn] = certify([("sampled", 4)], TEACHER, logits(1), IDS, forward_kl, 2.0, 7)
    assert drawn.bias < top.bias == pytest.approx(top.error)
    assert drawn.error > 2 * drawn.bias
    assert drawn.total_variation > top.total_variation


def test_a_student_that_already_agrees_is_no_division_by_zero() -> None:
    [found] = certify([("top", VOCABULARY)], torch.log_softmax(logits(0), -1), logits(0), IDS, forward_kl, 1.0, 7)
    assert found.total_variation == pytest.approx(0, abs=0.01)
    assert found.error < 0.5
