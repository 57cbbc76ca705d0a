"""What of a model learns: low-rank adapters, more hidden units, or all weights, of its upper layers. Trains nothing."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from slmops.core.errors import ModelError, need
from slmops.core.machine import release_freed_memory
from slmops.core.mistakes import nearest
from slmops.models.forward import decoder_layers
from slmops.training.config import TrainConfig

if TYPE_CHECKING:
    from torch import nn


def prepare(model: nn.Module, config: TrainConfig, seed: int) -> nn.Module:
    """The model with only what `config.method` trains in its upper layers set to learn. Lower layers that stay as they
    are need no backward pass, and keep what the model knew (Lee et al. 2019, arXiv 1911.03090).

    Raises:
        ModelError: a target names no linear layer, the rank is larger than one, or an MLP cannot be made wider.
    """
    torch = need("torch", "train")
    torch.manual_seed(seed)
    layers = decoder_layers(model)
    lower = len(layers) - max(1, round(config.upper_layers * len(layers)))
    if config.method == "qlora":
        from slmops.models.nf4 import to_nf4

        to_nf4(layers)
        for weight in model.parameters():
            weight.data = weight.data.clone()  # else the file that all were read from stays in memory
        release_freed_memory()
    if config.method == "bottleneck":
        from slmops.training.bottleneck import add_units

        model.requires_grad_(False)
        add_units(layers[lower:], config.units)
        return model
    if config.method != "full":
        return _with_adapters(model, layers[lower:], config)
    model.requires_grad_(True)
    layers[:lower].requires_grad_(False)
    for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
        embedding.requires_grad_(False)  # few rows tell little about 49,000 tokens, and they are half of the weights
    return model


def _with_adapters(model: nn.Module, layers: nn.ModuleList, config: TrainConfig) -> nn.Module:
    """The layers' linear parts wrapped in place: LoRA (Hu et al. 2021, arXiv 2106.09685), scaled by alpha/√rank if
    rank-stabilized (Kalajdzievski 2023, arXiv 2312.03732); DoRA (Liu et al. 2024, arXiv 2402.09353); QLoRA (Dettmers
    et al. 2023, arXiv 2305.14314)."""
    torch, peft = need("torch", "train"), need("peft", "train")
    names = {module: name for name, module in model.named_modules()}
    linear = {names[part]: part for part in layers.modules() if isinstance(part, torch.nn.Linear)}
    learning = list(linear) if config.targets == ("all",) else _chosen(linear, config.targets)
    for name in learning:
        if config.rank > (widest := min(linear[name].in_features, linear[name].out_features)):
            raise ModelError(
                f"rank {config.rank} is larger than {name}, whose rank is at most {widest}", remedy="lower train.rank"
            )
    adapter = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        use_rslora=config.rank_stabilized,
        use_dora=config.method == "dora",
        target_modules=learning,
        lora_dropout=config.dropout,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5 by a name that is going away
        warnings.simplefilter("ignore", FutureWarning)
        wrapped: nn.Module = peft.get_peft_model(model, adapter)
    return wrapped.get_base_model()


def _chosen(linear: Collection[str], targets: Sequence[str]) -> list[str]:
    """The layers that a target names: a whole name, or its end (`q_proj`, `self_attn.q_proj`)."""
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            ends = dict.fromkeys(name.rpartition(".")[2] for name in linear)
            raise ModelError(f"train.targets: no linear layer is called {target!r}", remedy=nearest(target, ends))
    return [name for name in linear if any(f".{name}".endswith(f".{target}") for target in targets)]


def merge(model: nn.Module) -> nn.Module:
    """Folds adapters into the weights, and lays out those in four bits; a model without any is returned as it is."""
    from slmops.models.nf4 import from_nf4
    from slmops.training.bottleneck import merge_units

    peft_tuners = need("peft.tuners.lora", "train")
    from_nf4(model)
    merge_units(model)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, peft_tuners.LoraLayer):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
    return model
