"""What goes on inside the student is held against what goes on inside its teacher."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from slmops.models.attention import Heads
from slmops.models.forward import last_states, load_causal_lm
from slmops.models.inside import watched
from slmops.models.packing import Example, pack
from slmops.optimization.narrow import keep_channels
from slmops.optimization.prune import keep_layers
from slmops.training.config import TrainConfig
from slmops.training.distillation_config import RepresentationConfig
from slmops.training.inner_losses import cosine_distance, map_divergence, relation_divergence
from slmops.training.layer_maps import last_layers, likeness, similar_layers, uniform_layers
from slmops.training.losses import cross_entropy
from slmops.training.methods import prepare
from slmops.training.representation import Representation, add_projections, in_common, remove_projections, states_of
from slmops.training.trainer import train
from tests.models.architectures import ARCHITECTURES, Architecture
from tests.training.rows import rows

ALL = RepresentationConfig(hidden_states=1.0, attention=2.0, values=0.5)
SHORT = (33, 34)
REAL = torch.tensor([[True, True, True, True], [True, True, False, False]])


def teaching(teacher: nn.Module, follows: dict[int, int], config: RepresentationConfig = ALL) -> Representation:
    return Representation(teacher, {row.row: row for row in rows(20)}, config, follows, None, 1024)


def values_of(model: nn.Module, representation: Representation, examples: list[Example]) -> dict[str, float]:
    found: dict[str, float] = {}
    for batch in pack(examples, 200):
        with watched(model) as inside:
            last_states(model, batch)
        for name, term in representation.terms(model, inside, batch, rows=len(examples)).items():
            found[name] = found.get(name, 0.0) + term.item()
    return found


@pytest.mark.parametrize("heads", [(4, 4, 2), (6, 4, 2)])
def test_losses_are_those_of_the_papers_row_by_row(heads: tuple[int, int, int]) -> None:
    """Each row alone, in plain loops; where heads are not as many, by means of groups and by values laid anew."""
    of_student, of_teacher, of_keys = heads
    torch.manual_seed(1)

    def some(count: int, width: int) -> Heads:
        shapes = (count, of_keys, of_keys)
        return Heads(*(torch.randn(2, 4, heads, width) for heads in shapes))

    def maps(found: Heads, row: int, count: int) -> list[Tensor]:
        heads, made = found.queries.shape[2], []
        length = int(REAL[row].sum())
        for head in range(heads):
            key = found.keys[row, :length, head // (heads // of_keys)]
            scores = found.queries[row, :length, head] @ key.T
            later = torch.ones(length, length).triu(1) > 0
            made.append(scores.masked_fill(later, -math.inf).softmax(-1))
        return [torch.stack(made[i : i + heads // count]).mean(0) for i in range(0, heads, heads // count)]

    def kl(p: Tensor, q: Tensor) -> Tensor:
        return torch.where(p > 0, p * (p / q).log(), 0.0).sum(-1).mean()

    student, teacher = some(of_student, 8), some(of_teacher, 16)
    count = math.gcd(of_student, of_teacher)
    pairs = [zip(maps(teacher, row, count), maps(student, row, count), strict=True) for row in range(2)]
    expected = sum(torch.stack([kl(p, q) for p, q in pair]).mean() for pair in pairs)
    assert map_divergence(student, teacher, REAL) == pytest.approx(float(expected), rel=1e-4)

    def relations(values: Tensor, row: int) -> list[Tensor]:
        length = int(REAL[row].sum())
        return [
            (values[row, :length, head] @ values[row, :length, head].T / values.shape[-1] ** 0.5).softmax(-1)
            for head in range(values.shape[2])
        ]

    pairs = [zip(relations(teacher.values, row), relations(student.values, row), strict=True) for row in range(2)]
    expected = sum(torch.stack([kl(p, q) for p, q in pair]).mean() for pair in pairs)
    assert relation_divergence(student.values, teacher.values, REAL) == pytest.approx(float(expected), rel=1e-4)


def test_hidden_states_are_held_together_as_directions() -> None:
    torch.manual_seed(2)
    one, other = torch.randn(2, 4, 8), torch.randn(2, 4, 8)
    cosines = (one * other).sum(-1) / one.norm(dim=-1) / other.norm(dim=-1)
    expected = (1 - cosines)[0].mean() + (1 - cosines)[1, :2].mean()
    assert cosine_distance(one, other, REAL) == pytest.approx(float(expected), rel=1e-5)
    assert cosine_distance(one, 7 * one, REAL) == pytest.approx(0, abs=1e-5)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_two_have_in_common_is_all_that_ends_alike(data: st.DataObject) -> None:
    """Whatever either reads before, packed behind whatever it shares, and whatever tokens are called."""
    token = st.integers(1, 6)
    tails = data.draw(st.lists(st.lists(token, min_size=3, max_size=8), min_size=1, max_size=4))
    renamed = data.draw(st.booleans())
    new_id = {old: old + 10 for old in range(30)} if renamed else None
    sides = []
    for name in ("student", "teacher"):
        shared = tuple(data.draw(st.lists(token, min_size=1, max_size=5), label=f"{name} shares"))
        fronts = [tuple(data.draw(st.lists(token, min_size=1, max_size=4))) for _ in tails]
        ids = [(*front, *tail) for front, tail in zip(fronts, tails, strict=True)]
        if name == "student" and new_id:
            ids, shared = [tuple(new_id[id] for id in some) for some in ids], tuple(new_id[id] for id in shared)
        learn = [(False,) * (len(some) - 2) + (True,) * 2 for some in ids]
        examples = [Example(f"row-{n}", (shared, some), learn[n]) for n, some in enumerate(ids)]
        (batch,) = pack(examples, 4096)
        sides.append((batch, ids))
    (student, own), (teacher, said) = sides
    common = in_common(student, teacher, new_id)
    for row, (one, other) in enumerate(zip(own, said, strict=True)):
        as_said = tuple(new_id[id] for id in other) if new_id else other
        length = 0
        while length < min(len(one), len(as_said)) and one[-1 - length] == as_said[-1 - length]:
            length += 1
        at = common.student[row][common.real[row]]
        found = student.ids.flatten()[at].tolist()
        expected = list(one[len(one) - length : -1])
        assert found == expected
        read = teacher.ids.flatten()[common.teacher[row][common.real[row]]].tolist()
        assert read == list(other[len(other) - length : -1])


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)
def test_a_student_that_is_its_teacher_is_like_it_in_every_family(architecture: Architecture, tmp_path: Path) -> None:
    model = load_causal_lm(architecture.write(tmp_path / "model"))
    for weight in model.parameters():
        weight.data *= 0.5  # else each token's values are like no other's at all
    same = {0: 0, 1: 1}
    alike = values_of(model, teaching(model, same), rows(9))
    assert set(alike) == {"hidden_states", "attention", "values"}
    assert max(alike.values()) < 1e-6
    crossed = values_of(model, teaching(model, {0: 1}), rows(9))
    assert min(crossed.values()) > 1e-3


def test_packing_changes_nothing_and_rows_count_alike(tiny_model: Path) -> None:
    teacher = load_causal_lm(tiny_model)
    student, some = keep_layers(load_causal_lm(tiny_model), [0]), rows(9, instruction=SHORT)
    representation = teaching(teacher, {0: 1})
    alone = [values_of(student, representation, [row]) for row in some]
    together = values_of(student, representation, some)
    for name, value in together.items():
        assert value == pytest.approx(sum(one[name] for one in alone) / len(some), rel=1e-3)
    double = replace(representation, config=RepresentationConfig(hidden_states=2.0))
    assert values_of(student, double, some)["hidden_states"] == pytest.approx(2 * together["hidden_states"], rel=1e-5)


def test_rows_that_the_teacher_does_not_read_say_nothing(tiny_model: Path) -> None:
    model = load_causal_lm(tiny_model)
    others = [replace(row, row=f"{row.row}#own") for row in rows(4)]
    assert set(values_of(model, teaching(model, {0: 1}), others).values()) == {0.0}


@pytest.mark.parametrize(("upper_layers", "width"), [(1.0, None), (0.5, None), (1.0, 24), (0.5, 24)])
def test_it_is_learned_and_a_killed_training_goes_on_exactly(
    tiny_model: Path, tmp_path: Path, upper_layers: float, width: int | None
) -> None:
    config = TrainConfig(
        method="full", epochs=4, learning_rate=0.01, upper_layers=upper_layers, batch_size=5, target_replication=0
    )
    teacher = load_causal_lm(tiny_model)
    follows = {0: 1, 1: 0} if upper_layers == 1 else {1: 0}

    def learn(scratch: Path, ends_early: bool) -> tuple[nn.Module, Representation, list[dict[str, float]]]:
        model = load_causal_lm(tiny_model)
        if width:
            keep_channels(model, torch.arange(width))
        prepare(model, config, 1)
        add_projections(model, sorted(follows), teacher.config.hidden_size, seed=3)
        steps: list[str] = []

        def report(share: float, text: str) -> None:
            steps.append(text)
            if ends_early and len(steps) == 7:
                raise KeyboardInterrupt

        representation = teaching(teacher, follows, RepresentationConfig(hidden_states=5.0))
        curve = train(
            model,
            rows(20, instruction=SHORT),
            config,
            cross_entropy,
            representation=representation,
            seed=7,
            number_format="float32",
            scratch=scratch,
            checkpoint_every_s=0,
            report=report,
        )
        return model, representation, [point.gradients for point in curve if point.gradients]

    model, representation, norms = learn(tmp_path / "whole", ends_early=False)
    assert all(set(one) == {"loss", "hidden_states"} and one["hidden_states"] > 0 for one in norms)
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "killed", ends_early=True)
    again, _, _ = learn(tmp_path / "killed", ends_early=False)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    fresh = load_causal_lm(tiny_model)
    if width:
        keep_channels(fresh, torch.arange(width))
    add_projections(fresh, sorted(follows), teacher.config.hidden_size, seed=3)
    before, after = (values_of(one, representation, rows(20, instruction=SHORT)) for one in (fresh, model))
    assert after["hidden_states"] < before["hidden_states"]
    names = {name for name, _ in model.named_parameters()}
    remove_projections(model)
    left = {name for name, _ in model.named_parameters()}
    assert len(names - left) == (len(follows) if width else 0)
    assert left == {name for name, _ in load_causal_lm(tiny_model).named_parameters()}


def test_layers_follow_as_asked() -> None:
    assert uniform_layers(3, 30) == {0: 9, 1: 19, 2: 29}
    assert uniform_layers(4, 6) == {0: 1, 1: 2, 2: 3, 3: 5}
    assert uniform_layers(2, 2) == {0: 0, 1: 1}
    assert last_layers(3, 30) == {0: 27, 1: 28, 2: 29}


def test_similar_layers_are_found_whatever_their_width_and_never_cross(tiny_model: Path) -> None:
    torch.manual_seed(4)
    teacher = [torch.randn(60, 16) for _ in range(6)]
    turned = torch.linalg.qr(torch.randn(16, 16))[0]
    student = [3 * teacher[1] @ turned, teacher[4] @ torch.randn(16, 40), teacher[2]]
    follows = similar_layers(student, teacher)
    assert (follows[0], follows[1]) == (1, 4)
    assert follows[2] >= 4
    assert likeness(teacher[0], teacher[0] @ turned + 5) == pytest.approx(1)
    model = load_causal_lm(tiny_model)
    own, of_teacher = states_of(teaching(model, {}), keep_layers(load_causal_lm(tiny_model), [1]), rows(9))
    assert len(own) == 1
    assert len(of_teacher) == 2
    assert own[0].shape == of_teacher[0].shape


def test_states_are_those_of_the_plain_model(tiny_model: Path) -> None:
    """As transformers tells them, and heads as its eager attention uses them."""
    model = load_causal_lm(tiny_model)
    (batch,) = pack(rows(1), 64)
    length = int((batch.segments >= 0).sum())
    with watched(model) as inside, torch.no_grad():
        partial(last_states, model)(batch)
    with torch.no_grad():
        told = model(input_ids=batch.ids[:, :length], output_hidden_states=True).hidden_states
    assert (inside.states[0][:, :length] - told[1]).abs().max() < 1e-4
    heads, layer = inside.heads[0], model.model.layers[0].self_attn  # type: ignore[union-attr, index]
    assert heads.queries.shape[1] == layer.q_proj.out_features // layer.head_dim  # type: ignore[union-attr, operator]
    values = model.model.layers[0].input_layernorm(told[0])  # type: ignore[union-attr, index, operator]
    expected = layer.v_proj(values).unflatten(2, (heads.values.shape[1], -1)).transpose(1, 2)  # type: ignore[union-attr, operator]
    assert (heads.values[:, :, :length] - expected).abs().max() < 1e-4
