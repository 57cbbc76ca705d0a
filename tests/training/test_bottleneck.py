"""Units that learn beside an MLP are, merged, the same as one wider MLP: in torch, saved, and as int4."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GraniteMoeConfig
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP
from transformers.models.granitemoe.modeling_granitemoe import GraniteMoeMoE

from slmops.core.errors import ModelError
from slmops.models.forward import last_states, load_causal_lm, target_logits
from slmops.models.packing import pack
from slmops.optimization.config import OptimizationConfig
from slmops.optimization.int4 import round_to_int4
from slmops.optimization.onnx import write_onnx
from slmops.runtimes.local import LocalModel
from slmops.runtimes.probes import Probe, record_probes, replay_probes
from slmops.runtimes.torch_lm import TorchRuntime
from slmops.training.bottleneck import add_units
from slmops.training.config import TrainConfig
from slmops.training.looks import mean_loss
from slmops.training.losses import cross_entropy
from slmops.training.methods import merge, prepare
from slmops.training.trainer import train
from tests.models.architectures import ARCHITECTURES
from tests.training.rows import rows

(BATCH,) = pack(rows(8), 1024)


def config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"method": "bottleneck", "epochs": 10, "learning_rate": 0.01, "max_tokens": 256, **changes}
    )


def said(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return target_logits(model, BATCH)


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    """As if it had learned: whatever learns has other values."""
    for weight in model.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.2)
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)
def test_what_is_merged_and_saved_says_what_was_trained(architecture, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    untrained = said(load_causal_lm(architecture.write(tmp_path / "model")))
    model = prepare(load_causal_lm(tmp_path / "model"), config(upper_layers=0.5), 1)
    assert torch.equal(said(model), untrained)
    trained = said(stirred(model))
    assert (trained - untrained).abs().max() > 0.1
    merge(model).save_pretrained(tmp_path / "merged")
    assert torch.allclose(said(model), trained, atol=1e-5)
    assert torch.allclose(said(load_causal_lm(tmp_path / "merged")), trained, atol=1e-5)


def test_it_learns_above_layers_that_stay_and_holds_its_probes_as_int4(tmp_path: Path) -> None:
    folder = ARCHITECTURES[1].write(tmp_path / "model")
    model, settings, notes = prepare(load_causal_lm(folder), config(), 1), config(), []
    given = {"seed": 1, "number_format": "float32", "scratch": tmp_path / "scratch"}
    train(model, rows(40), settings, cross_entropy, **given, report=lambda share, note: notes.append(note))  # type: ignore[arg-type]
    assert not any(note.startswith("warning") for note in notes)
    assert list((tmp_path / "scratch" / "frozen").glob("*.bin"))
    before = load_causal_lm(folder)
    losses = [mean_loss(one, rows(20), 1024, cross_entropy, partial(last_states, one)) for one in (before, model)]
    assert losses[1] < 0.3 * losses[0]

    learned = tmp_path / "learned"
    merge(model).save_pretrained(learned)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (learned / file).write_bytes((folder / file).read_bytes())
    asked = [Probe((*row.path[0], *row.path[1][:3]), row.path[1][3:]) for row in rows(20)]
    record_probes(TorchRuntime(learned, ends=frozenset({2})), asked, learned / "probes.jsonl")
    for precision, allowed in (("fp32", 0.001), ("int4", 0.25)):
        converted = tmp_path / precision
        write_onnx(learned, converted, OptimizationConfig.model_validate(precision))
        parity = replay_probes(LocalModel(converted).runtime, converted / "probes.jsonl")
        assert parity.mean_probability_difference < allowed


def test_units_are_whole_blocks_of_int4_so_that_merging_moves_no_rounded_weight(tiny_model: Path) -> None:
    model = stirred(prepare(load_causal_lm(tiny_model), config(rank=8, upper_layers=1), 1))
    apart = model.model.layers[0].mlp
    rounded = [round_to_int4(mlp.down_proj.weight, 32) for mlp in (apart.mlp, apart.units)]
    assert merge(model).config.intermediate_size == 64 + 32
    together = model.model.layers[0].mlp.down_proj.weight
    assert torch.equal(round_to_int4(together, 32), torch.cat(rounded, 1))
    assert not torch.equal(round_to_int4(together, 32), together)


def test_an_mlp_without_a_gate_and_with_transposed_weights_can_be_wider() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50)).eval()
    ids = torch.arange(20)[None]
    before = model(ids).logits
    prepare(model, config(upper_layers=0.5), 1)
    assert torch.equal(model(ids).logits, before)
    trained = stirred(model)(ids).logits
    assert (trained - before).abs().max() > 0.1
    merged = merge(model)
    assert torch.allclose(merged(ids).logits, trained, atol=1e-5)
    assert merged.config.n_inner == 64 + 32
    assert type(merged.transformer.h[0].mlp) is type(merged.transformer.h[1].mlp) is GPT2MLP


class _Halved(torch.nn.Module):
    """Gates and what they gate are every other unit, not one half each."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.down = torch.nn.Linear(8, 32), torch.nn.Linear(16, 8)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        both = self.both(states)
        return self.down(both[..., ::2].sigmoid() * both[..., 1::2])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("mlp", "told"),
    [
        (
            GraniteMoeMoE(GraniteMoeConfig(hidden_size=8, intermediate_size=16)),
            "the MLP GraniteMoeMoE is not of a form",
        ),
        (torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.LayerNorm(16), torch.nn.Linear(16, 8)), "Sequential is"),
        (_Halved(), "the MLP _Halved cannot be made wider — write method: lora"),
        (None, "the layer Module is not of a form"),
    ],
)
def test_an_mlp_that_cannot_be_made_wider_is_named(mlp: torch.nn.Module | None, told: str) -> None:
    layer = torch.nn.Module()
    layer.mlp = mlp
    with pytest.raises(ModelError, match=told):
        add_units([layer], 32)
