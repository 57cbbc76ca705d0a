"""A fast path that computes something else is not taken."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from slmops.core.errors import ModelError
from slmops.models.attention import Level
from slmops.models.forward import last_states, load_causal_lm
from slmops.training.config import TrainConfig
from slmops.training.frozen import frozen_layers
from slmops.training.losses import cross_entropy
from slmops.training.methods import prepare
from slmops.training.self_check import why_not_packed
from slmops.training.targets import teacher_logprobs
from slmops.training.trainer import train
from tests.models.architectures import ARCHITECTURES
from tests.tiny import write_model
from tests.training.rows import rows

CONFIG = TrainConfig(method="full", upper_layers=1, epochs=1, learning_rate=0.01)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)
def test_no_family_has_a_reason_not_to_be_packed(architecture, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = load_causal_lm(architecture.write(tmp_path))
    assert why_not_packed(model, rows(8), partial(last_states, model), "float32") == ""


@pytest.mark.parametrize(("kind", "scaled"), [("granite", {"logits_scaling": 8.0}), ("cohere", {"logit_scale": 0.25})])
def test_logits_that_are_scaled_are_learned_so(tmp_path: Path, kind: str, scaled: dict[str, float]) -> None:
    write_model(tmp_path, kind, ("<|im_start|>", "<|im_end|>"), initializer_range=0.5, **scaled)
    model = load_causal_lm(tmp_path)
    assert why_not_packed(model, rows(8), partial(last_states, model), "float32") == ""


def test_logits_that_are_made_otherwise_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path, "granite", ("<|im_start|>", "<|im_end|>"), initializer_range=0.5, logits_scaling=8.0)
    model = load_causal_lm(tmp_path)
    head = model.get_output_embeddings()
    model.get_output_embeddings = lambda: torch.nn.Linear(head.in_features, head.out_features, bias=False)
    with pytest.raises(ModelError, match="GraniteForCausalLM makes its logits of hidden states in a way of its own"):
        why_not_packed(model, rows(8), partial(last_states, model), "float32")


def test_attention_with_a_soft_cap_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    write_model(tmp_path, "gemma2", ("<start_of_turn>", "<end_of_turn>"))
    with pytest.raises(ModelError, match="Gemma2ForCausalLM has a soft cap in its attention"):
        load_causal_lm(tmp_path)


def test_where_layers_join_neighbours_otherwise_rows_are_read_alone(tmp_path: Path) -> None:
    kinds = {"layer_types": ["conv", "full_attention"], "initializer_range": 0.5}
    write_model(tmp_path, "lfm2", ("<|im_start|>", "<|im_end|>"), **kinds)
    model = load_causal_lm(tmp_path)
    assert "join neighbours" in why_not_packed(model, rows(8), partial(last_states, model), "bfloat16")
    assert frozen_layers(model.requires_grad_(False)) == 0
    alone = {row: said for row, said in said_by(model, max_tokens=1)}
    for row, said in said_by(model, max_tokens=1024):
        torch.testing.assert_close(said, alone[row])


def said_by(model: torch.nn.Module, max_tokens: int) -> Iterator[tuple[str, torch.Tensor]]:
    for batch, logprobs in teacher_logprobs(model, rows(8), 1.0, max_tokens):
        for row, name in enumerate(batch.rows):
            yield name, logprobs[batch.target_row == row]


def learned(folder: Path, scratch: Path, config: TrainConfig = CONFIG) -> tuple[torch.Tensor, list[str]]:
    notes: list[str] = []
    model = prepare(load_causal_lm(folder), config, 1)
    train(
        model,
        rows(16),
        config,
        cross_entropy,
        seed=1,
        number_format="float32",
        scratch=scratch,
        report=lambda share, note: notes.append(note),
    )
    return torch.cat([weight.detach().flatten() for weight in model.parameters()]), notes


def test_where_packing_is_wrong_each_example_is_computed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    write_model(folder, "llama", ("<|im_start|>", "<|im_end|>"), initializer_range=0.5)
    right, notes = learned(folder, tmp_path / "right")
    assert not any(note.startswith("warning") for note in notes)

    def leaking(self: Level, window: int | None, key_heads: int, groups: int, like: torch.Tensor) -> torch.Tensor:
        seen = like.new_zeros(self.distance.shape)
        return seen.repeat_interleave(groups, 1).repeat_interleave(key_heads, 0)

    monkeypatch.setattr(Level, "mask", leaking)
    alone, notes = learned(folder, tmp_path / "alone")
    assert any("nats a token off with this model; training one example at a time" in note for note in notes)
    assert torch.allclose(alone, right, atol=1e-4)
    asked = TrainConfig.model_validate(
        {**CONFIG.model_dump(exclude_unset=True), "neftune_alpha": 5.0, "contrastive": 0.1}
    )
    without, notes = learned(folder, tmp_path / "without", asked)
    assert any(note.endswith("slower, and without neftune_alpha and contrastive") for note in notes)
    assert torch.equal(without, alone)
