"""A look changes nothing, and says what the model says of some rows that are learned and of all held out."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from slmops.models.forward import last_states, load_causal_lm
from slmops.models.packing import Batch, Example
from slmops.training.config import TrainConfig
from slmops.training.looks import Looks, mean_loss
from slmops.training.losses import cross_entropy
from slmops.training.methods import prepare
from slmops.training.replication import Begins
from slmops.training.terms import Teaching
from tests.training.rows import rows


def test_weights_twice_as_far_are_given_back_as_they_were(tiny_model: Path) -> None:
    model = prepare(load_causal_lm(tiny_model), TrainConfig(method="full", upper_layers=1), 1)
    learning = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    begin = {name: weight.detach().clone() for name, weight in learning.items()}
    for weight in learning.values():
        weight.data += 0.1 * torch.randn_like(weight)
    ends = {name: weight.detach().clone() for name, weight in learning.items()}
    read, asked = partial(last_states, model), rows(20)
    looks = Looks(model, asked, [], TrainConfig(), read)
    taken: list[int] = []
    found = looks.twice_as_far(begin, learning, lambda: taken.append(1))
    assert all(torch.equal(weight, ends[name]) for name, weight in learning.items())
    assert len(taken) == 2
    for name, weight in learning.items():
        weight.data.copy_(2 * ends[name] - begin[name])
    assert found == pytest.approx(looks.seen(), rel=1e-4)


def test_all_rows_held_out_are_looked_at_and_a_sample_of_the_others(tiny_model: Path) -> None:
    model = load_causal_lm(tiny_model)
    read, learned, held_out = partial(last_states, model), rows(400), rows(30)
    config = TrainConfig(max_tokens=256)
    looks = Looks(model, learned, held_out, config, read)
    seen, others = looks.both()
    assert others == pytest.approx(mean_loss(model, held_out, 1024, cross_entropy, read), rel=1e-5)
    assert seen == pytest.approx(mean_loss(model, learned[::16], 1024, cross_entropy, read), rel=1e-5)
    assert Looks(model, learned, [], config, read).both() == (pytest.approx(seen), None)


def test_few_long_rows_say_as_much_as_many_short_ones(tiny_model: Path) -> None:
    model = load_causal_lm(tiny_model)
    long = [Example(str(n), (tuple(range(n, n + 200)),), (False, *[True] * 199)) for n in range(100)]
    read: list[str] = []

    def noted(batch: Batch) -> torch.Tensor:
        read.extend(batch.rows)
        return last_states(model, batch)

    Looks(model, long, [], TrainConfig(), noted).seen()
    assert sorted(read) == sorted(str(100 * place // 11) for place in range(11))  # 11 · 199 are more than 2,048 targets


@pytest.mark.parametrize(
    ("options", "count"),
    [({"batch_size": 12}, 12), ({"batch_size": 1}, 8), ({"batch_size": 1, "contrastive": 1.0}, 25)],
)
def test_terms_pull_at_a_steps_rows_or_at_all_that_are_looked_at_where_they_are_held_together(
    tiny_model: Path, options: dict[str, object], count: int
) -> None:
    config = TrainConfig.model_validate({"method": "full"} | options)
    model, read = prepare(load_causal_lm(tiny_model), config, 1), list[str]()

    def noted(batch: Batch) -> torch.Tensor:
        read.extend(batch.rows)
        return last_states(model, batch)

    pulls = Looks(model, rows(400), [], config, noted).pulls(
        Teaching(cross_entropy, begins=Begins((100, 101, 102, 103, 104)))
    )
    assert len(set(read)) == count and all(norm > 0 for norm in pulls.values())
    assert set(pulls) == {"loss", "target_replication", *(["contrastive"] if config.contrastive else [])}
