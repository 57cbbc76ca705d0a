"""The losses are what their formulas say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slmops.training.losses import (
    DIVERGENCES,
    Taught,
    TokenLoss,
    cross_entropy,
    forward_kl,
    jensen_shannon,
    mix,
    skewed_forward_kl,
    skewed_reverse_kl,
)

seeds = st.integers(0, 2**31)
temperatures = st.sampled_from([0.5, 1.0, 2.0, 5.0])
NO_IDS = torch.zeros(3, dtype=torch.long)


def logits(seed: int, targets: int = 3, vocabulary: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(targets, vocabulary, generator=generator, dtype=torch.float64) * 2


def taught(teacher: torch.Tensor, temperature: float, top_k: int) -> Taught:
    top = torch.log_softmax(teacher / temperature, -1).topk(top_k, -1)
    return Taught(top.indices, top.values, torch.ones(len(teacher)), temperature)


every_divergence = pytest.mark.parametrize("divergence", DIVERGENCES.values(), ids=DIVERGENCES)


@every_divergence
@given(seed=seeds, temperature=temperatures, top_k=st.integers(1, 12))
def test_a_student_equal_to_its_teacher_has_no_divergence(
    divergence: TokenLoss, seed: int, temperature: float, top_k: int
) -> None:
    loss = divergence(logits(seed), NO_IDS, taught(logits(seed), temperature, top_k))
    assert loss.tolist() == pytest.approx([0, 0, 0], abs=1e-4)


def dense(name: str, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Written down from the papers, over probabilities of the whole vocabulary."""

    def kl(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a * (a / b).log()).sum(-1)

    half = (p + q) / 2
    return {
        "forward_kl": lambda: kl(p, q),
        "reverse_kl": lambda: kl(q, p),
        "jensen_shannon": lambda: (kl(p, half) + kl(q, half)) / 2,
        "skewed_forward_kl": lambda: kl(p, 0.1 * p + 0.9 * q),
        "skewed_reverse_kl": lambda: kl(q, 0.9 * p + 0.1 * q),
        "total_variation": lambda: (p - q).abs().sum(-1) / 2,
        "sorted_distance": lambda: (p.sort().values - q.sort().values).abs().sum(-1),
    }[name]()


@pytest.mark.parametrize("name", DIVERGENCES)
@given(seed=seeds, temperature=temperatures)
def test_with_the_whole_vocabulary_it_is_the_dense_divergence(name: str, seed: int, temperature: float) -> None:
    student, teacher = logits(seed), logits(seed + 1)
    expected = dense(name, torch.softmax(teacher / temperature, -1), torch.softmax(student / temperature, -1))
    scale = temperature if name in ("total_variation", "sorted_distance") else temperature**2
    loss = DIVERGENCES[name](student, NO_IDS, taught(teacher, temperature, 12))
    assert loss.tolist() == pytest.approx((expected * scale).tolist(), rel=1e-3, abs=1e-4)


@every_divergence
@given(seed=seeds, temperature=st.sampled_from([2.0, 5.0]))  # so that nothing is as rare as what is taken for never
def test_it_grows_with_what_is_kept_and_never_exceeds_the_dense_divergence(
    divergence: TokenLoss, seed: int, temperature: float
) -> None:
    """Merging outcomes into one bucket cannot increase a divergence."""
    student, teacher = logits(seed), logits(seed + 1)
    by_k = torch.stack([divergence(student, NO_IDS, taught(teacher, temperature, k)) for k in range(1, 13)])
    assert (by_k >= -1e-4).all()
    assert (by_k.diff(dim=0) >= -1e-3).all()


@every_divergence
@settings(max_examples=25)
@given(seed=seeds, temperature=temperatures, top_k=st.integers(1, 11))
def test_its_gradient_is_that_of_its_value(divergence: TokenLoss, seed: int, temperature: float, top_k: int) -> None:
    teacher = taught(logits(seed + 1), temperature, top_k)
    student = logits(seed).requires_grad_()
    teacher = Taught(teacher.ids, teacher.logprobs.float(), teacher.trusted, temperature)
    assert torch.autograd.gradcheck(lambda value: divergence(value, NO_IDS, teacher), student, atol=1e-4)


def test_a_student_that_is_sure_still_learns_that_other_tokens_are_likely() -> None:
    student = torch.zeros(1, 12)
    student[0, 0] = 25.0
    teacher = torch.cat([torch.tensor([[0.6, 0.1]]), torch.full((1, 10), 0.03)], 1).log()

    def pull(divergence: TokenLoss, k: int) -> float:
        learning = student.clone().requires_grad_()
        divergence(learning, NO_IDS, taught(teacher, 1.0, k)).sum().backward()
        assert learning.grad is not None
        return float(learning.grad[0, 0])

    assert pull(forward_kl, 2) == pytest.approx(pull(forward_kl, 12), rel=1e-3) == pytest.approx(0.4, rel=1e-3)


@every_divergence
def test_a_token_that_is_not_there_counts_for_nothing(divergence: TokenLoss) -> None:
    teacher = taught(logits(1), 2.0, 4)
    ids = torch.cat([teacher.ids, torch.zeros(3, 2, dtype=torch.long)], 1)
    padded = Taught(ids, torch.cat([teacher.logprobs, torch.full((3, 2), -torch.inf)], 1), teacher.trusted, 2.0)
    assert torch.allclose(divergence(logits(2), NO_IDS, padded), divergence(logits(2), NO_IDS, teacher))


def test_a_mix_is_skewed_and_weighed_as_its_options_say() -> None:
    answers, teacher = torch.tensor([1, 5, 11]), taught(logits(1), 2.0, 4)
    names = {"skewed_forward_kl": skewed_forward_kl, "skewed_reverse_kl": skewed_reverse_kl}
    for name, loss in names.items():
        mixed = mix({name: 1.0}, skew=0.4)(logits(2), answers, teacher)
        assert torch.allclose(mixed, loss(logits(2), answers, teacher, skew=0.4))  # type: ignore[call-arg]
    mixed = mix({"jensen_shannon": 1.0}, beta=0.9)(logits(2), answers, teacher)
    assert torch.allclose(mixed, jensen_shannon(logits(2), answers, teacher, beta=0.9))


@given(seed=seeds)
def test_the_gradient_of_the_answers_loss_is_that_of_its_value(seed: int) -> None:
    answers = torch.tensor([1, 5, 11])
    assert torch.autograd.gradcheck(lambda value: cross_entropy(value, answers, None), logits(seed).requires_grad_())


def test_an_answer_that_is_not_trusted_is_not_learned() -> None:
    teacher = taught(logits(1), 2.0, 4)
    doubted = Taught(teacher.ids, teacher.logprobs, torch.tensor([1.0, 0.0, 1.0]), 2.0)
    answers = torch.tensor([1, 5, 11])
    plain, loss = cross_entropy(logits(2), answers, None), cross_entropy(logits(2), answers, doubted)
    assert loss.tolist() == pytest.approx([float(plain[0]), 0, float(plain[2])])
    assert torch.equal(forward_kl(logits(2), answers, doubted), forward_kl(logits(2), answers, teacher))


def test_losses_are_mixed_by_their_weights() -> None:
    answers, teacher = torch.tensor([1, 5, 11]), taught(logits(1), 2.0, 4)
    mixed = mix({"forward_kl": 0.7, "cross_entropy": 0.3})(logits(2), answers, teacher)
    expected = 0.7 * forward_kl(logits(2), answers, teacher) + 0.3 * cross_entropy(logits(2), answers, teacher)
    assert torch.allclose(mixed, expected)


def test_a_loss_of_weight_zero_needs_no_teacher() -> None:
    answers = torch.tensor([1, 5, 11])
    mixed = mix({"forward_kl": 0.0, "cross_entropy": 1.0})(logits(2), answers, None)
    assert torch.equal(mixed, cross_entropy(logits(2), answers, None))


@every_divergence
def test_a_divergence_without_a_teacher_is_refused(divergence: TokenLoss) -> None:
    with pytest.raises(ValueError, match="needs a teacher"):
        divergence(logits(1), NO_IDS, None)


@every_divergence
def test_a_very_certain_teacher_gives_finite_values_and_gradients(divergence: TokenLoss) -> None:
    certain = torch.zeros(3, 12)
    certain[:, 4] = 1000
    student = (-certain).requires_grad_()
    loss = divergence(student, NO_IDS, taught(certain, 1.0, 4))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert student.grad is not None and student.grad.isfinite().all()
