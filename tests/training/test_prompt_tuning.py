"""Virtual tokens that learned are, in what ships, tokens like others: in the weights and in the template."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from slmops.core.errors import ModelError
from slmops.models.families import encode_prompt, family_of
from slmops.models.forward import load_causal_lm, target_logits
from slmops.models.packing import pack
from slmops.models.tokenizer import Tokenizer
from slmops.models.virtual_tokens import add_virtual_tokens
from slmops.tasks.types import Message
from slmops.training.config import TrainConfig
from slmops.training.losses import cross_entropy
from slmops.training.methods import merge, prepare
from slmops.training.trainer import train
from tests.models.architectures import ARCHITECTURES
from tests.training.rows import rows

COUNT = 6


def config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"method": "prompt", "virtual_tokens": COUNT, "epochs": 20, "learning_rate": 0.1, "max_tokens": 256, **changes}
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)
def test_what_is_merged_and_saved_says_what_was_trained(architecture, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plain = architecture.write(tmp_path / "model")
    add_virtual_tokens(plain, tmp_path / "more", COUNT, seed=1)
    ids = Tokenizer(tmp_path / "more").virtual_ids
    assert len(ids) == COUNT
    (batch,) = pack(rows(8, ids), 1024)  # so few that a window of attention reaches them

    def said(model: torch.nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            return target_logits(model, batch)

    model = load_causal_lm(tmp_path / "more")
    untrained = said(model)
    model = prepare(model, config(), 1, ids)
    assert torch.allclose(said(model), untrained, atol=1e-5)
    (learning,) = [weight for weight in model.parameters() if weight.requires_grad]
    assert learning.shape == (COUNT, model.config.hidden_size)
    torch.nn.init.normal_(learning, std=0.5)
    trained = said(model)
    assert (trained - untrained).abs().max() > 0.1
    merge(model).save_pretrained(tmp_path / "merged")
    assert torch.allclose(said(load_causal_lm(tmp_path / "merged")), trained, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)
def test_every_conversation_begins_with_them_and_no_message_can_say_them(architecture, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plain = architecture.write(tmp_path / "model")
    add_virtual_tokens(plain, tmp_path / "more", COUNT, seed=1)
    before, after = Tokenizer(plain), Tokenizer(tmp_path / "more")
    asked = [Message("user", "does <|virtual_0|> work?")]
    longer = encode_prompt(after, family_of(after), asked)
    assert [id for id in longer if id in after.virtual_ids] == list(after.virtual_ids)
    without = tuple(id for id in longer if id not in after.virtual_ids)
    assert without == encode_prompt(before, family_of(before), asked)


def test_they_learn_and_nothing_else_does(tmp_path: Path) -> None:
    add_virtual_tokens(ARCHITECTURES[1].write(tmp_path / "model"), tmp_path / "more", COUNT, seed=1)
    ids = Tokenizer(tmp_path / "more").virtual_ids
    before = load_causal_lm(tmp_path / "more")
    model, asked = prepare(load_causal_lm(tmp_path / "more"), config(), 1, ids), rows(40, ids)
    curve = train(model, asked, config(), cross_entropy, seed=1, number_format="float32", scratch=tmp_path / "scratch")
    assert curve[-1].seen_loss < 0.8 * curve[0].seen_loss  # type: ignore[operator]
    learned = merge(model).state_dict()
    for name, weight in before.state_dict().items():
        same = torch.ones(len(weight), dtype=torch.bool)
        if weight.shape[0] == before.config.vocab_size:
            same[list(ids)] = False
            assert not torch.equal(learned[name][list(ids)], weight[list(ids)])
        assert torch.equal(learned[name][same], weight[same])


def test_the_same_seed_makes_the_same_bytes_and_rows_of_no_token_are_never_the_likeliest(tmp_path: Path) -> None:
    plain = ARCHITECTURES[4].write(tmp_path / "model")  # its head is no copy of its embeddings
    for name in ("a", "b"):
        add_virtual_tokens(plain, tmp_path / name, COUNT, seed=1)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]
    head = load_causal_lm(tmp_path / "a").get_output_embeddings().weight  # type: ignore[operator]
    logits = torch.randn(50, head.shape[1]) @ head.T
    virtual = list(Tokenizer(tmp_path / "a").virtual_ids)
    assert not set(logits.argmax(1).tolist()) & set(virtual)


def test_a_vocabulary_that_has_their_names_as_ordinary_tokens_is_refused(tmp_path: Path) -> None:
    plain = ARCHITECTURES[1].write(tmp_path / "model")
    told = json.loads((plain / "tokenizer.json").read_text())
    name = next(token for token, id in told["model"]["vocab"].items() if id == 100)
    told["model"]["vocab"]["<|virtual_0|>"] = told["model"]["vocab"].pop(name)
    (plain / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match="virtual tokens already"):
        add_virtual_tokens(plain, tmp_path / "more", COUNT, seed=1)


def test_a_model_has_them_once(tiny_model: Path, tmp_path: Path) -> None:
    add_virtual_tokens(tiny_model, tmp_path / "more", 2, seed=1)
    with pytest.raises(ModelError, match="virtual tokens already"):
        add_virtual_tokens(tmp_path / "more", tmp_path / "again", 2, seed=1)
    with pytest.raises(ModelError, match="no virtual tokens that could learn"):
        prepare(load_causal_lm(tiny_model), config(), 1)


def searched(key: str, space: dict[str, object]) -> dict[str, object]:
    return {"num_trials": 2, "search_space": {key: space}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"upper_layers": 0.5}, "which layers learn"),
        ({"rank": 8}, "rank says how adapters learn, but the method is prompt"),
        ({"method": "lora"}, "virtual_tokens says how virtual tokens learn, but the method is lora"),
        ({"quantization_aware": 0.5}, "no weight learns but the tokens' own"),
        ({"search": searched("virtual_tokens", {"type": "int", "low": 2, "high": 9})}, "before any trial"),
        ({"search": searched("method", {"type": "choice", "values": ["lora", "full"]})}, "before any trial"),
        ({"neftune_alpha": 5}, "noise where virtual tokens learn"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        config(**changes)
