"""The output head: what it says of some tokens is what it says of all."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch

from slmops.models.forward import head_logits, load_causal_lm


@pytest.mark.filterwarnings("ignore")  # peft's, of ends that are tied
@pytest.mark.parametrize("beside", [None, {"target_modules": ["lm_head"]}, {"modules_to_save": ["lm_head"]}])
def test_logits_of_some_tokens_are_those_among_all(tiny_model: Path, beside: dict[str, list[str]] | None) -> None:
    model, some = load_causal_lm(tiny_model), (3, 5, 200)
    if beside:
        asked = {"target_modules": ["q_proj"]} | beside
        peft.get_peft_model(model, peft.LoraConfig(init_lora_weights=False, **asked))
    states = torch.randn(4, model.config.hidden_size)
    assert torch.allclose(head_logits(model, states, some), head_logits(model, states)[:, list(some)], atol=1e-5)
