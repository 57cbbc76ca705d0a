"""How hard each term of a loss pulls is measured while it learns, and told where one drowns another."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from slmops.models.forward import head_logits, last_states, load_causal_lm
from slmops.models.packing import pack
from slmops.training.config import TrainConfig
from slmops.training.curve import Point, read_curve, write_curve
from slmops.training.diagnosis import diagnose
from slmops.training.losses import Taught, cross_entropy, forward_kl, mix
from slmops.training.methods import prepare
from slmops.training.replication import Begins
from slmops.training.terms import Teaching, gradient_norms, has_several
from slmops.training.trainer import train
from tests.training.rows import rows

BEGINS = (100, 101, 102, 103, 104)
CONFIG = TrainConfig(method="full", target_replication=0.5, contrastive={"weight": 2.0})  # type: ignore[arg-type]


def uniform(count: int) -> Taught:
    return Taught(torch.tensor([BEGINS]).expand(count, -1), torch.full((count, 5), 0.2).log(), torch.ones(count), 2.0)


def test_norms_are_those_of_each_weighed_terms_own_gradient(tiny_model: Path) -> None:
    model = prepare(load_causal_lm(tiny_model), CONFIG, 1)
    batch = next(pack(rows(12), 1024))
    taught, targets = uniform(len(batch.target_ids)), len(batch.target_ids)
    loss = mix({"forward_kl": 3.0, "cross_entropy": 0.01})
    teaching = Teaching(loss, lambda batch: taught, Begins(BEGINS))
    norms = gradient_norms(model, batch, partial(last_states, model), teaching, CONFIG)
    assert set(norms) == {"forward_kl", "cross_entropy", "target_replication", "contrastive"}
    for name, weight, term in (("forward_kl", 3.0, forward_kl), ("cross_entropy", 0.01, cross_entropy)):
        logits = head_logits(model, last_states(model, batch)[batch.target_at])
        value = weight * term(logits, batch.target_ids, taught).sum() / targets
        learning = [value for value in model.parameters() if value.requires_grad]
        gradients = torch.cat([gradient.flatten() for gradient in torch.autograd.grad(value, learning)])
        assert norms[name] == pytest.approx(float(gradients.norm()), rel=1e-4)


def test_a_single_term_is_held_against_nothing() -> None:
    plain = TrainConfig(method="full")
    assert not has_several(Teaching(cross_entropy), plain)
    assert not has_several(Teaching(mix({"forward_kl": 1.0})), plain)
    assert has_several(Teaching(mix({"forward_kl": 1.0, "cross_entropy": 0.1})), plain)
    assert has_several(Teaching(cross_entropy, begins=Begins(BEGINS)), plain)


def test_a_curve_has_them_at_every_look_and_a_term_of_no_weight_is_called_drowned(
    tiny_model: Path, tmp_path: Path
) -> None:
    config = TrainConfig(method="full", epochs=3, learning_rate=0.01, validations=2, target_replication=0)
    curve = train(
        prepare(load_causal_lm(tiny_model), config, 1),
        rows(30),
        config,
        mix({"forward_kl": 1.0, "cross_entropy": 1e-4}),
        teach=lambda batch: uniform(len(batch.target_ids)),
        seed=1,
        number_format="float32",
        scratch=tmp_path,
    )
    told = [point.gradients for point in curve if point.gradients]
    assert [set(norms) for norms in told] == [{"forward_kl", "cross_entropy"}] * 2
    write_curve(tmp_path / "curve.jsonl", curve)
    assert list(read_curve(tmp_path / "curve.jsonl")) == curve
    fault = diagnose(curve)[-1]
    assert fault.name == "drowned loss"
    assert "cross_entropy is at most 0.0% of forward_kl's" in fault.shown_by


@pytest.mark.parametrize(("weaker", "drowned"), [(0.02, False), (0.009, True), (0.0, True)])
def test_a_term_is_drowned_where_it_never_pulls_a_hundredth_as_hard(weaker: float, drowned: bool) -> None:
    looks = [{"a": 1.0, "b": 0.001}, {"a": 0.5, "b": weaker * 0.5}]
    curve = [Point(at, 1.0, gradients=norms) for at, norms in enumerate(looks, 1)]
    assert [fault.name for fault in diagnose(curve)] == ["drowned loss"] * drowned


def test_where_nothing_pulls_nothing_is_drowned() -> None:
    assert diagnose([Point(1, 0.0, gradients={"a": 0.0, "b": 0.0})]) == []
