"""What of a model learns: low-rank adapters, or all but the embeddings. Changes a model in place; trains nothing."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from slmops.core.errors import need
from slmops.training.config import TrainConfig

if TYPE_CHECKING:
    from torch import nn


def prepare(model: nn.Module, config: TrainConfig, seed: int) -> nn.Module:
    """The model with only what `config.method` trains set to learn. With LoRA the layers are wrapped in place (Hu et
    al. 2021, arXiv 2106.09685) on every linear layer but the output head."""
    torch = need("torch", "train")
    torch.manual_seed(seed)
    if config.method == "lora":
        peft = need("peft", "train")
        adapter = peft.LoraConfig(
            r=config.rank, lora_alpha=config.alpha, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM"
        )
        with warnings.catch_warnings():  # peft 0.21 asks transformers 5 by a name that is going away
            warnings.simplefilter("ignore", FutureWarning)
            wrapped: nn.Module = peft.get_peft_model(model, adapter)
        return wrapped.get_base_model()
    model.requires_grad_(True)
    for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
        embedding.requires_grad_(False)  # few rows tell little about 49,000 tokens, and they are half of the weights
    return model


def merge(model: nn.Module) -> nn.Module:
    """Folds low-rank adapters into the weights; a model without any is returned as it is."""
    peft_tuners = need("peft.tuners.lora", "train")
    for name, layer in list(model.named_modules()):
        if isinstance(layer, peft_tuners.LoraLayer):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
    return model
