"""Losses and callbacks of the user's own, and the contrastive loss."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from slmops.core.errors import ConfigError, SlmopsError
from slmops.core.named import allow, code_of
from slmops.models.forward import last_states, load_causal_lm
from slmops.models.packing import pack
from slmops.training.config import ContrastiveConfig, TrainConfig
from slmops.training.contrastive import contrastive_loss
from slmops.training.losses import cross_entropy, mix
from slmops.training.methods import prepare
from slmops.training.own import gold_loss
from slmops.training.trainer import train
from tests.training.rows import rows

CODE = """
import torch
from torch.nn import functional

seen = []

def focal(logits, target_ids):
    logprob = torch.log_softmax(logits, -1).gather(1, target_ids[:, None])[:, 0]
    return -((1 - logprob.exp()) ** 2) * logprob

def mean(logits, target_ids):
    return functional.cross_entropy(logits, target_ids)

def constant(logits, target_ids):
    return torch.ones(len(target_ids))

def number(logits, target_ids):
    return 3.0

def broken(logits, target_ids):
    raise KeyError("mine")

def not_a_number(logits, target_ids):
    return focal(logits, target_ids) * float("nan")

def watch(point):
    seen.append(point.step)
    return len(seen) < 2
"""


@pytest.fixture(scope="module", autouse=True)
def code(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("code")
    (folder / "own_code.py").write_text(CODE)
    sys.path.insert(0, str(folder))
    for name in ("focal", "mean", "constant", "number", "broken", "not_a_number", "watch", "missing"):
        allow(f"own_code:{name}")
    yield folder
    sys.path.remove(str(folder))


def config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 5, "learning_rate": 0.01, "max_tokens": 256, **changes})


def trained(folder: Path, scratch: Path, settings: TrainConfig) -> torch.nn.Module:
    model, loss = prepare(load_causal_lm(folder), settings, 1), mix({"cross_entropy": 1}, gold_loss(settings))
    given: dict[str, Any] = {"seed": 1, "number_format": "float32", "scratch": scratch, "validation": rows(10)}
    train(model, rows(40), settings, loss, **given)
    return model


def test_a_loss_of_ones_own_is_what_is_learned(tiny_model: Path, tmp_path: Path) -> None:
    logits, gold = torch.randn(6, 11), torch.arange(6)
    own = gold_loss(config(loss="own_code:focal"))(logits, gold, None)
    plain = cross_entropy(logits, gold, None)
    assert torch.allclose(own, (1 - (-plain).exp()) ** 2 * plain)
    trained(tiny_model, tmp_path, config(loss="own_code:focal", epochs=1))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mean", r"own_code:mean returned a tensor of shape \(\), expected \(\d+,\), one value a target"),
        ("number", r"own_code:number returned a float, expected"),
        ("constant", "own_code:constant does not depend on the logits"),
        ("broken", "own_code:broken raised KeyError: 'mine'"),
        (
            "not_a_number",
            r"own_code:not_a_number returned nan for (\d+) of \1 targets, whose logits are",
        ),
        ("missing", "own_code:missing: .* has no attribute 'missing'"),
    ],
)
def test_a_loss_that_does_wrong_is_named(tiny_model: Path, tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(SlmopsError, match=told):
        trained(tiny_model, tmp_path, config(loss=f"own_code:{name}"))


def test_code_that_no_project_names_is_not_imported() -> None:
    with pytest.raises(ConfigError, match="'subprocess:run' is code of a project"):
        gold_loss(config(loss="subprocess:run"))


def test_code_that_changed_is_another(code: Path) -> None:
    before = code_of("own_code:focal", "train")
    (code / "own_code.py").write_text(CODE + "\n# changed\n")
    assert code_of("own_code:focal", "train") != before


def test_a_callback_hears_of_each_look_and_may_end_it(tiny_model: Path, tmp_path: Path) -> None:
    trained(tiny_model, tmp_path, config(callbacks=["own_code:watch"], validations=5))
    assert sys.modules["own_code"].seen == [5, 10]


@pytest.mark.parametrize("kind", ["infonce", "margin"])
def test_rows_of_one_answer_come_together(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    alike = ContrastiveConfig(kind=kind, weight=1.0)  # type: ignore[arg-type]
    (batch,) = pack(rows(20), 1024)
    losses = {}
    for name, contrastive in (("with", {"kind": kind, "weight": 5.0}), ("without", None)):
        model = trained(tiny_model, tmp_path / name, config(contrastive=contrastive, upper_layers=1, method="full"))
        with torch.inference_mode():
            losses[name] = float(contrastive_loss(last_states(model, batch), batch, alike))
    assert losses["with"] < 0.7 * losses["without"]


def test_infonce_is_the_published_sum(tiny_model: Path) -> None:
    """Khosla et al. 2020, equation 2, term by term."""
    (batch,) = pack(rows(12), 1024)
    with torch.inference_mode():
        states = last_states(load_causal_lm(tiny_model), batch)
        found = contrastive_loss(states, batch, ContrastiveConfig(temperature=0.5))
    places = {row: int(batch.target_at[batch.target_row == row][0]) for row in range(12)}
    z = {row: states[at] / states[at].norm() for row, at in places.items()}
    answer = {row: int(batch.rows[row].removeprefix("row-")) % 5 for row in z}
    total = 0.0
    for i in z:
        positives = [p for p in z if p != i and answer[p] == answer[i]]
        among = sum(float((z[i] @ z[a] / 0.5).exp()) for a in z if a != i)
        total += sum(-float(z[i] @ z[p] / 0.5 - torch.tensor(among).log()) for p in positives) / len(positives)
    assert float(found) == pytest.approx(total, rel=1e-4)


def test_where_no_two_rows_have_one_answer_nothing_can_be_alike(tiny_model: Path, tmp_path: Path) -> None:
    settings = config(contrastive=0.5)
    model = prepare(load_causal_lm(tiny_model), settings, 1)
    with pytest.raises(SlmopsError, match="no two rows have the same answer"):
        train(model, rows(4), settings, cross_entropy, seed=1, number_format="float32", scratch=tmp_path)
