"""What of a model learns: low-rank adapters, or all weights, of its upper layers. Trains nothing."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from slmops.core.errors import need
from slmops.models.forward import decoder_layers
from slmops.training.config import TrainConfig

if TYPE_CHECKING:
    from torch import nn


def prepare(model: nn.Module, config: TrainConfig, seed: int) -> nn.Module:
    """The model with only what `config.method` trains in its upper layers set to learn. With LoRA their linear layers
    are wrapped in place (Hu et al. 2021, arXiv 2106.09685). Lower layers that stay as they are need no backward pass,
    and keep what the model knew (Lee et al. 2019, arXiv 1911.03090)."""
    torch = need("torch", "train")
    torch.manual_seed(seed)
    layers = decoder_layers(model)
    lower = len(layers) - max(1, round(config.upper_layers * len(layers)))
    if config.method == "lora":
        peft = need("peft", "train")
        names = {module: name for name, module in model.named_modules()}
        learning = [names[part] for part in layers[lower:].modules() if isinstance(part, torch.nn.Linear)]
        adapter = peft.LoraConfig(
            r=config.rank, lora_alpha=config.alpha, target_modules=learning, lora_dropout=0.0, task_type="CAUSAL_LM"
        )
        with warnings.catch_warnings():  # peft 0.21 asks transformers 5 by a name that is going away
            warnings.simplefilter("ignore", FutureWarning)
            wrapped: nn.Module = peft.get_peft_model(model, adapter)
        return wrapped.get_base_model()
    model.requires_grad_(True)
    layers[:lower].requires_grad_(False)
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
