"""A narrower model computes what the whole one would without the parts that are gone."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from slmops.core.errors import ModelError
from slmops.models.forward import decoder_layers, load_causal_lm, target_logits
from slmops.models.packing import Batch, pack
from slmops.optimization.importance import measure
from slmops.optimization.narrow import head_width, keep_channels, keep_groups, keep_heads, keep_units
from slmops.optimization.prune import keep_layers
from tests.models.architectures import ARCHITECTURES, Architecture
from tests.tiny import write_model
from tests.training.rows import rows

every_family = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)


def wide(architecture: Architecture, folder: Path) -> torch.nn.Module:
    """With four heads in two groups, so that there is one to spare."""
    changes = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3, **architecture.changes}
    if architecture.name == "phi-4-mini":
        changes["hidden_size"] = 256  # its rotary embeddings are of a head of 64
    write_model(folder, architecture.model_type, architecture.markers, **changes)
    return load_causal_lm(folder)


def batches() -> Iterator[Batch]:
    return pack(rows(6), 1024)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([target_logits(model, batch) for batch in batches()])


def comes_back(model: torch.nn.Module, folder: Path) -> None:
    model.save_pretrained(folder)
    assert torch.allclose(logits(load_causal_lm(folder)), logits(model), atol=1e-5)


@every_family
def test_units_that_add_nothing_can_go(architecture: Architecture, tmp_path: Path) -> None:
    model = wide(architecture, tmp_path / "model")
    gone = torch.arange(3, 64, 2)
    for layer in decoder_layers(model):
        layer.mlp.down_proj.weight.data[:, gone] = 0
    kept = [torch.tensor([at for at in range(64) if at not in gone.tolist()])] * 2
    small = copy.deepcopy(model)
    keep_units(small, kept)
    assert torch.allclose(logits(small), logits(model), atol=1e-4)
    assert small.config.intermediate_size == len(kept[0]) == 33
    comes_back(small, tmp_path / "small")


@every_family
def test_heads_that_add_nothing_can_go_with_their_keys_and_values(architecture: Architecture, tmp_path: Path) -> None:
    model = wide(architecture, tmp_path / "model")
    own, kept = head_width(model) * 2, [torch.tensor([0]), torch.tensor([1])]
    if architecture.name == "phi-4-mini":
        with pytest.raises(ModelError, match=r"long rotary.*remove student.kv_heads"):
            keep_groups(model, kept)
        return
    for layer, (at,) in zip(decoder_layers(model), kept, strict=True):
        other = 1 - int(at)
        layer.self_attn.o_proj.weight.data[:, other * own : (other + 1) * own] = 0
    small = copy.deepcopy(model)
    keep_groups(small, kept)
    assert torch.allclose(logits(small), logits(model), atol=1e-4)
    assert (small.config.num_attention_heads, small.config.num_key_value_heads) == (2, 1)
    comes_back(small, tmp_path / "small")


@every_family
def test_heads_that_add_nothing_can_go_alone(architecture: Architecture, tmp_path: Path) -> None:
    model = wide(architecture, tmp_path / "model")
    width, kept = head_width(model), [torch.tensor([[0], [1]]), torch.tensor([[1], [0]])]
    if architecture.name == "phi-4-mini":
        with pytest.raises(ModelError, match=r"long rotary.*remove student.heads"):
            keep_heads(model, kept)
        return
    for layer, at in zip(decoder_layers(model), kept, strict=True):
        for group, own in enumerate(at.flatten().tolist()):
            gone = 2 * group + 1 - own
            layer.self_attn.o_proj.weight.data[:, gone * width : (gone + 1) * width] = 0
    small = copy.deepcopy(model)
    keep_heads(small, kept)
    assert torch.allclose(logits(small), logits(model), atol=1e-4)
    assert (small.config.num_attention_heads, small.config.num_key_value_heads) == (2, 2)
    comes_back(small, tmp_path / "small")


@every_family
def test_channels_go_everywhere_at_once(architecture: Architecture, tmp_path: Path) -> None:
    model = wide(architecture, tmp_path / "model")
    before, kept = logits(model), torch.arange(model.config.hidden_size)
    if architecture.name in ("gemma-3", "phi-4-mini"):
        with pytest.raises(ModelError, match=r"(scales its embeddings|long rotary).*remove student.width"):
            keep_channels(model, kept)
        return
    keep_channels(model, kept)
    assert torch.equal(logits(model), before)
    keep_channels(model, torch.arange(0, len(kept), 2))
    assert model.config.hidden_size == len(kept) // 2
    assert logits(model).isfinite().all()
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == (
        model.config.tie_word_embeddings
    )
    comes_back(model, tmp_path / "small")


@every_family
def test_what_does_much_is_told_from_what_does_nothing(architecture: Architecture, tmp_path: Path) -> None:
    model = wide(architecture, tmp_path / "model")
    idle, own = torch.arange(0, 10), head_width(model) * 2
    first = decoder_layers(model)[0]
    first.mlp.down_proj.weight.data[:, idle] = 0
    values = first.self_attn.qkv_proj if hasattr(first.self_attn, "qkv_proj") else first.self_attn.v_proj
    values.weight.data[-own // 2 :] = 0  # the last group's values
    if values.bias is not None:
        values.bias.data[-own // 2 :] = 0
    found = measure(model, batches())
    assert set(found.units[0].argsort()[:10].tolist()) == set(idle.tolist())
    assert float(found.groups[0][1]) == 0 < float(found.groups[0][0])
    assert (found.heads[0][1] == 0).all() and (found.heads[0][0] > 0).all()
    assert found.channels.shape == (model.config.hidden_size,) and (found.channels > 0).all()
    assert found.angle(1, 1) == pytest.approx(0, abs=1e-3) and 0 < found.angle(0, 2) < 1


def test_layers_of_another_kind_are_refused(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("gpt2", vocab_size=200, n_embd=32, n_layer=2, n_head=2, n_positions=128)
    with pytest.raises(ModelError, match="or tokens only"):
        measure(AutoModelForCausalLM.from_config(config), batches())


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [
        (
            "gpt_neo",
            {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "num_heads": 2, "hidden_size": 32},
        ),
        ("gpt2", {"n_layer": 2, "n_head": 2, "n_embd": 32, "scale_attn_by_inverse_layer_idx": True}),
    ],
)
def test_layers_that_are_not_alike_are_not_cut(model_type: str, sizes: dict[str, object]) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, vocab_size=200, **sizes))
    with pytest.raises(ModelError, match="its layers cannot be cut"):
        keep_layers(model, [0])


def test_what_counts_its_heads_itself_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, "stablelm", ("<|im_start|>", "<|im_end|>"))
    model = load_causal_lm(tmp_path)
    for narrow, parts in ((keep_groups, torch.tensor([0])), (keep_heads, torch.tensor([[0]]))):
        with pytest.raises(ModelError, match="count their heads"):
            narrow(model, [parts] * 2)
    with pytest.raises(ModelError, match="norms have a shape"):
        keep_channels(model, torch.arange(16))
