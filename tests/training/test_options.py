"""What a user may say of how a model learns: each option does what it is for, and none is ignored."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from slmops.core.errors import ModelError, SlmopsError
from slmops.models.forward import decoder_layers, last_states, load_causal_lm, target_logits
from slmops.models.packing import pack
from slmops.training.checkpoint import Checkpoint, State
from slmops.training.config import TrainConfig
from slmops.training.curve import Point
from slmops.training.frozen import Reader
from slmops.training.looks import mean_loss
from slmops.training.losses import cross_entropy, mix
from slmops.training.methods import merge, prepare
from slmops.training.own import gold_loss
from slmops.training.schedule import learning_rate_share, make_optimizer
from slmops.training.student_config import StudentConfig
from slmops.training.trainer import train
from tests.models.architectures import ARCHITECTURES
from tests.tiny import write_model
from tests.training.rows import rows


def config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 5, "learning_rate": 0.01, "max_tokens": 256, **changes})


def trained(folder: Path, scratch: Path, settings: TrainConfig, **more: Any) -> tuple[torch.nn.Module, list[Point]]:
    model = prepare(load_causal_lm(folder), settings, 1)
    given = {"seed": 1, "number_format": "float32", "scratch": scratch} | more
    return model, train(model, rows(40), settings, cross_entropy, **given)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters() if weight.requires_grad])


def loss_of(model: torch.nn.Module) -> float:
    return mean_loss(model, rows(20), 1024, cross_entropy, partial(last_states, model))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "full", "rank": 16}, "rank says how adapters learn, but the method is full — write method: lora"),
        ({"method": "full", "dropout": 0.1}, "dropout says how adapters learn"),
        ({"method": "bottleneck", "alpha": 16}, "alpha says how adapters learn, but the method is bottleneck"),
        ({"method": "qlora", "quantization_aware": 0.5}, "its base is rounded already"),
        (
            {"method": "dora", "quantization_aware": 0.5},
            "its sum is scaled, so int4 cannot be learned under it",
        ),
        ({"decay": 0.1}, "decay is for the schedule wsd, not for cosine"),
        ({"patience": 2, "keep": "last"}, "patience keeps the best weights, and keep says the last"),
        ({"judge": "metric"}, "judge says which look is the best, and the last weights are kept"),
        (
            {"vocabulary_sample": 64, "label_smoothing": 0.1},
            "vocabulary_sample does nothing: label_smoothing is",
        ),
        ({"contrastive": {"kind": "margin", "temperature": 0.2}}, "temperature is for infonce, not for margin"),
        ({"contrastive": {"margin": 0.2}}, "margin is for margin, not for infonce"),
        ({"neftune_alpha": 5.0}, "neftune_alpha changes what lower layers read, but they stay — write upper_layers: 1"),
        ({"targets": []}, "at least 1 item"),
        ({"learning_rate": 10}, "less than 1"),
        ({"batch_size": 0}, "greater than or equal to 1"),
    ],
)
def test_an_option_that_would_do_nothing_or_harm_is_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainConfig.model_validate(options)
    said = " ".join(f"{error['msg']} — {error.get('ctx', {}).get('remedy', '')}" for error in caught.value.errors())
    assert told in said


def test_code_of_ones_own_that_a_search_tries_is_named() -> None:
    space = {
        "loss": {"type": "choice", "values": ["cross_entropy", "focal:focal"]},
        "callbacks": {"type": "choice", "values": [[], ["mine:stop"]]},
    }
    config = TrainConfig.model_validate({"search": {"num_trials": 2, "search_space": space}})
    assert config.own_code() == ("focal:focal", "mine:stop")


def test_a_student_is_trained_whole_unless_it_says_otherwise() -> None:
    chosen = StudentConfig.model_validate({"model": "small", "train": {"method": "lora", "rank": 8}}).train
    assert (chosen.method, chosen.rank, chosen.epochs) == ("lora", 8, 3)
    with pytest.raises(ValidationError, match="rank says how adapters learn"):
        StudentConfig.model_validate({"model": "small", "train": {"rank": 8}})


@pytest.mark.parametrize(
    "options",
    [{"method": "dora"}, {"method": "qlora"}, {"rank_stabilized": True}, {"dropout": 0.1}, {"loraplus_lr_ratio": 8.0}],
    ids=lambda options: next(f"{name}-{value}" for name, value in options.items()),
)
def test_every_kind_of_adapter_learns_and_can_be_merged(tmp_path: Path, options: dict[str, object]) -> None:
    folder = ARCHITECTURES[1].write(tmp_path / "model")
    model, _ = trained(folder, tmp_path, config(epochs=10, upper_layers=1, **options))
    assert loss_of(model) < 0.3 * loss_of(load_causal_lm(folder))
    (batch,) = pack(rows(8), 1024)
    with torch.inference_mode():
        apart = target_logits(model, batch)
        assert torch.allclose(apart, target_logits(merge(model), batch), atol=1e-4)


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_parts_that_learn_whole_are_in_the_merged_model(tmp_path: Path, model_type: str) -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512} if model_type == "gpt2" else {}
    write_model(tmp_path / "model", model_type, ("<|im_start|>", "<|im_end|>"), **sizes)
    norm, targets = ("ln_f", ["c_attn", "c_proj"]) if model_type == "gpt2" else ("model.norm", ["q_proj"])
    options = {"modules_to_save": [norm, "lm_head"], "targets": targets, "rank": 4, "upper_layers": 1}
    model, _ = trained(tmp_path / "model", tmp_path, config(epochs=10, **options))
    wholly = [name for name, weight in model.named_parameters() if weight.requires_grad and ".lora_" not in name]
    assert {name.partition(".modules_to_save")[0].rpartition(".")[2] for name in wholly} == {
        norm.rpartition(".")[2],
        "lm_head",
    }
    (batch,) = pack(rows(8), 1024)
    with torch.inference_mode():
        apart = target_logits(model, batch)
    merge(model).save_pretrained(tmp_path / "merged")
    with torch.inference_mode():
        assert torch.allclose(apart, target_logits(load_causal_lm(tmp_path / "merged"), batch), atol=1e-4)
    assert loss_of(load_causal_lm(tmp_path / "merged")) < 0.3 * loss_of(load_causal_lm(tmp_path / "model"))


def test_four_bits_are_not_promised_where_there_is_nothing_to_put_in_them(tmp_path: Path) -> None:
    write_model(tmp_path, "gpt2", ("<|im_start|>", "<|im_end|>"), n_embd=32, n_layer=2, n_head=2, n_positions=512)
    with pytest.raises(ModelError, match=r"no linear layers that could lie in four bits — write method: lora"):
        prepare(load_causal_lm(tmp_path), config(method="qlora"), 1)


def test_adapters_are_where_the_targets_say(tiny_model: Path) -> None:
    settings = config(targets=["self_attn.q_proj", "down_proj"], upper_layers=1)
    model = prepare(load_causal_lm(tiny_model), settings, 1)
    parts = {
        name.split(".lora_")[0].rpartition(".")[2] for name, weight in model.named_parameters() if weight.requires_grad
    }
    assert parts == {"q_proj", "down_proj"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"targets": ["q_prj"]}, "no linear layer is called 'q_prj' — did you mean q_proj?"),
        ({"modules_to_save": ["lm_haed"]}, "no part of the model is called 'lm_haed' — did you mean lm_head?"),
        ({"targets": ["c_attn"]}, "no linear layer is called 'c_attn' — known are q_proj, k_proj"),
        (
            {"rank": 1024},
            r"rank 1024 is larger than model\.layers\.1\.\S+, whose rank is at most \d+ — lower train\.rank",
        ),
    ],
)
def test_adapters_that_cannot_be_are_refused(tiny_model: Path, options: dict[str, object], told: str) -> None:
    with pytest.raises(ModelError, match=told.replace("?", r"\?")):
        prepare(load_causal_lm(tiny_model), config(**options), 1)


def test_parts_of_layers_that_stay_do_not_learn_whole(tiny_model: Path) -> None:
    model = prepare(load_causal_lm(tiny_model), config(modules_to_save=["mlp", "lm_head"], upper_layers=0.5), 1)
    wholly = {name for name, weight in model.named_parameters() if weight.requires_grad and "modules_to_save" in name}
    assert any("lm_head" in name for name in wholly)
    assert {name.partition("layers.")[2][:1] for name in wholly if "layers." in name} == {"1"}


def test_b_learns_faster_than_a_and_only_matrices_decay(tiny_model: Path) -> None:
    model = prepare(load_causal_lm(tiny_model), config(method="dora", loraplus_lr_ratio=16.0, weight_decay=0.1), 1)
    groups = make_optimizer(model, config(method="dora", loraplus_lr_ratio=16.0, weight_decay=0.1)).param_groups
    found = {id(weight): (group["times"], group["weight_decay"]) for group in groups for weight in group["params"]}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            times, decay = found.pop(id(weight))
            assert times == (16 if ".lora_B." in name else 1), name
            assert decay == (0 if "magnitude" in name else 0.1), name
    assert not found


@given(
    st.sampled_from(["cosine", "linear", "constant", "wsd"]), st.integers(1, 300), st.floats(0, 0.5), st.floats(0.01, 1)
)
def test_a_learning_rate_rises_once_and_never_again(schedule: str, steps: int, warmup: float, decay: float) -> None:
    more = {"decay": decay} if schedule == "wsd" else {}
    settings = config(schedule=schedule, warmup=warmup, **more)
    shares = [learning_rate_share(step, steps, settings) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares)
    falls = [after < before for before, after in pairwise(shares)]
    rises = [after > before for before, after in pairwise(shares)]
    assert True not in rises[falls.index(True) :] if True in falls else True
    if schedule == "wsd" and warmup + decay < 1:
        assert sum(share == 1 for share in shares) >= steps * (1 - warmup - decay) - 2
        assert shares[-1] <= 1 / max(1, decay * steps) + 1e-9


def test_smoothed_gold_is_as_torch_has_it(tiny_model: Path, tmp_path: Path) -> None:
    logits, gold = torch.randn(6, 11), torch.arange(6)
    smooth = mix({"cross_entropy": 2.0}, gold_loss(config(label_smoothing=0.2)))(logits, gold, None)
    expected = torch.nn.functional.cross_entropy(logits, gold, label_smoothing=0.2, reduction="none")
    assert torch.allclose(smooth, 2 * expected)


def test_noise_on_embeddings_is_there_only_while_it_learns_and_within_its_bound(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = load_causal_lm(tiny_model)
    model.requires_grad_(True)
    (batch,) = pack(rows(8), 1024)
    reader = Reader(model, rows(8), tmp_path / "frozen", lambda share: None, neftune_alpha=5.0)
    embedded: list[torch.Tensor] = []
    model.model.layers[0].register_forward_pre_hook(lambda layer, given: embedded.append(given[0].detach()))
    reader.last_states(batch)
    model.train()
    reader.last_states(batch)
    off = (embedded[1] - embedded[0]).abs().amax(-1)[0]
    ends = {segment: int(batch.positions[batch.segments == segment].max()) + 1 for segment in range(9)}
    for token, segment in enumerate(batch.segments[0].tolist()):
        if segment >= 0:
            bound = 5.0 / (ends[segment] * embedded[0].shape[-1]) ** 0.5
            assert 0.5 * bound < float(off[token]) <= bound


def test_noise_reaches_layers_without_adapters(tiny_model: Path, tmp_path: Path) -> None:
    last = f"layers.{len(decoder_layers(load_causal_lm(tiny_model))) - 1}.self_attn.q_proj"
    plain, _ = trained(tiny_model, tmp_path / "plain", config(epochs=1, upper_layers=1, targets=[last]))
    noisy, _ = trained(
        tiny_model, tmp_path / "noisy", config(epochs=1, upper_layers=1, targets=[last], neftune_alpha=5.0)
    )
    assert not torch.equal(weights(plain), weights(noisy))


def test_beneath_layers_that_stay_nothing_learns(tmp_path: Path) -> None:
    write_model(tmp_path, "gpt2", ("<|im_start|>", "<|im_end|>"))
    for upper, learns in ((0.5, False), (1, True)):
        model = prepare(load_causal_lm(tmp_path), config(method="full", upper_layers=upper), 1)
        assert model.transformer.wpe.weight.requires_grad == learns  # type: ignore[union-attr]


def test_what_no_loss_has_reached_yet_goes_on_after_a_kill(tiny_model: Path, tmp_path: Path) -> None:
    model = load_causal_lm(tiny_model)
    model.add_module("apart", torch.nn.Linear(2, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    Checkpoint(tmp_path, model, optimizer).save(State(step=3))
    assert Checkpoint(tmp_path, model, optimizer).load().step == 3


def test_activations_computed_twice_teach_the_same(tiny_model: Path, tmp_path: Path) -> None:
    settings = {"method": "full", "epochs": 1, "upper_layers": 1}
    plain, _ = trained(tiny_model, tmp_path / "a", config(**settings))
    again, _ = trained(tiny_model, tmp_path / "b", config(**settings, gradient_checkpointing=True))
    assert torch.allclose(weights(plain), weights(again), atol=1e-6)


def others(count: int) -> list[Any]:
    """Rows whose messages ask for other answers than `rows` teaches."""
    return [
        type(row)(row.row, (row.path[0], (*row.path[1][:-3], *other.path[1][-3:])), row.learn)
        for row, other in zip(rows(count), rows(count + 1)[1:], strict=True)
    ]


def test_it_ends_when_validation_rows_get_worse_and_keeps_the_best(tiny_model: Path, tmp_path: Path) -> None:
    settings = config(method="full", upper_layers=1, epochs=40, validations=40, patience=3, schedule="constant")
    model, curve = trained(tiny_model, tmp_path, settings, validation=others(10))
    losses = [point.validation_loss for point in curve if point.validation_loss is not None]
    assert len(losses) < 40
    assert losses.index(min(losses)) == len(losses) - 4
    kept = mean_loss(model, others(10), 1024, cross_entropy, partial(last_states, model))
    assert kept == pytest.approx(min(losses), abs=1e-5)


def test_without_validation_rows_nothing_can_be_best(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SlmopsError, match=r"no validation rows to tell which weights are best — give data\.validation"):
        trained(tiny_model, tmp_path, config(patience=2))
