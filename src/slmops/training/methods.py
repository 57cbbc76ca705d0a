"""What of a model learns: low-rank adapters, more hidden units, or all weights, of its upper layers; or virtual tokens.
Trains nothing."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slmops.core.errors import ModelError, need
from slmops.core.machine import release_freed_memory
from slmops.core.mistakes import nearest
from slmops.models.adapters import WEIGHTS
from slmops.models.forward import decoder_layers
from slmops.models.lora import PREFIX
from slmops.models.tokenizer import Ids
from slmops.training.config import TrainConfig

if TYPE_CHECKING:
    from torch import nn

ADAPTER = "default"  # what the adapter that learns is called


def prepare(model: nn.Module, config: TrainConfig, seed: int, virtual: Ids = ()) -> nn.Module:
    """The model with only what `config.method` trains in its upper layers set to learn. Lower layers that stay as they
    are need no backward pass, and keep what the model knew (Lee et al. 2019, arXiv 1911.03090). `virtual` are the
    virtual tokens of its vocabulary.

    Raises:
        ModelError: a target names no linear layer, the rank is larger than one, an MLP cannot be made wider, or there
            are no virtual tokens.
    """
    torch = need("torch", "train")
    torch.manual_seed(seed)
    layers = decoder_layers(model)
    lower = len(layers) - max(1, round(config.upper_layers * len(layers)))
    if config.method == "qlora":
        from slmops.models.nf4 import to_nf4

        if not any(isinstance(part, torch.nn.Linear) for part in layers.modules()):
            raise ModelError("it has no linear layers that could lie in four bits", remedy="write method: lora")
        to_nf4(layers)
        for weight in model.parameters():
            weight.data = weight.data.clone()  # else the file that all were read from stays in memory
        release_freed_memory()
    if config.method == "prompt":
        from slmops.training.prompt_tuning import learn_virtual_tokens

        if not virtual:
            raise ModelError("its vocabulary has no virtual tokens that could learn", remedy="write method: lora")
        learn_virtual_tokens(model, virtual)
        return model
    if config.method == "bottleneck":
        from slmops.training.bottleneck import add_units

        model.requires_grad_(False)
        add_units(layers[lower:], config.units)
        return model
    if config.method != "full":
        return _with_adapters(model, layers[lower:], config)
    model.requires_grad_(True)
    layers[:lower].requires_grad_(False)
    for part in model.modules() if lower else ():
        if isinstance(part, torch.nn.Embedding):
            part.requires_grad_(False)  # beneath layers that stay nothing learns, GPT-2's positions neither
    for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
        # else they stay: few rows tell little about 49,000 tokens, and they are half of the weights
        embedding.requires_grad_(config.embeddings)
    return model


def _with_adapters(model: nn.Module, layers: nn.ModuleList, config: TrainConfig) -> nn.Module:
    """The layers' linear parts wrapped in place: LoRA (Hu et al. 2021, arXiv 2106.09685), scaled by alpha/√rank if
    rank-stabilized (Kalajdzievski 2023, arXiv 2312.03732); DoRA (Liu et al. 2024, arXiv 2402.09353); QLoRA (Dettmers
    et al. 2023, arXiv 2305.14314)."""
    peft = need("peft", "train")
    learning, whole = named_parts(model, layers, config)
    transposed = need("transformers.pytorch_utils", "train").Conv1D  # GPT-2's linear layers
    adapter = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        use_rslora=config.rank_stabilized,
        use_dora=config.method == "dora",
        target_modules=learning,
        lora_dropout=config.dropout,
        fan_in_fan_out=any(isinstance(model.get_submodule(name), transposed) for name in learning),
        modules_to_save=whole or None,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5 by a name that is going away
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")  # `merge` sees to it
        wrapped: nn.Module = peft.get_peft_model(model, adapter, ADAPTER)
    return wrapped.get_base_model()


def named_parts(model: nn.Module, layers: nn.ModuleList, config: TrainConfig) -> tuple[list[str], list[str]]:
    """The linear parts of `layers` that get adapters, and the parts of the model that learn whole, as `config` says.

    Raises:
        ModelError: a name is that of no part, or the rank is larger than that of one.
    """
    torch, transposed = need("torch", "train"), need("transformers.pytorch_utils", "train").Conv1D
    names, learned = {module: name for name, module in model.named_modules()}, set(layers)
    below = tuple(f"{names[layer]}." for layer in decoder_layers(model) if layer not in learned)  # these stay
    parts = [name for name in names.values() if not f"{name}.".startswith(below)]
    linear = {names[part]: part for part in layers.modules() if isinstance(part, (torch.nn.Linear, transposed))}
    learning = list(linear)
    if config.targets != ("all",):
        learning = _named(linear, config.targets, "train.targets: no linear layer")
    for name in learning:
        part = linear[name]
        sizes = (part.nx, part.nf) if isinstance(part, transposed) else (part.in_features, part.out_features)
        if config.rank > (widest := min(sizes)):
            raise ModelError(
                f"rank {config.rank} is larger than {name}, whose rank is at most {widest}", remedy="lower train.rank"
            )
    return learning, _named(parts, config.modules_to_save, "train.modules_to_save: no part of the model")


def _named(known: Collection[str], asked: Sequence[str], lacking: str) -> list[str]:
    """Those of `known` that are asked for by a whole name, or its end (`q_proj`, `self_attn.q_proj`)."""
    for name in asked:
        if not any(f".{one}".endswith(f".{name}") for one in known):
            ends = dict.fromkeys(end for one in known if (end := one.rpartition(".")[2]) and not end.isdigit())
            raise ModelError(f"{lacking} is called {name!r}", remedy=nearest(name, ends))
    return [one for one in known if any(f".{one}".endswith(f".{name}") for name in asked)]


def merge(model: nn.Module) -> nn.Module:
    """Folds adapters into the weights, lays out those in four bits, and puts parts that learned whole in their
    place; a model without any is returned as it is."""
    from slmops.models.nf4 import from_nf4
    from slmops.training.bottleneck import merge_units
    from slmops.training.prompt_tuning import merge_virtual_tokens

    peft_tuners, peft_utils = need("peft.tuners.lora", "train"), need("peft.utils", "train")
    from_nf4(model)
    merge_units(model)
    merge_virtual_tokens(model)
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    if any(isinstance(end, peft_utils.ModulesToSaveWrapper) for end in ends):
        model.config.tie_word_embeddings = False  # what was one matrix is two now
    for name, layer in list(model.named_modules()):
        if isinstance(layer, peft_tuners.LoraLayer):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
        elif isinstance(layer, peft_utils.ModulesToSaveWrapper):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.modules_to_save[ADAPTER])
    return model


def save_adapter(model: nn.Module, base: str, folder: Path) -> None:
    """Writes what learned, in peft's format, before it is merged; `base` is what loaders will look for."""
    peft, safetensors = need("peft", "train"), need("safetensors.torch", "train")
    settings = copy.copy(model.peft_config[ADAPTER])
    settings.base_model_name_or_path, settings.inference_mode = base, True
    settings.save_pretrained(folder)
    found = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    weights = {f"{PREFIX}{name}": weight.detach().contiguous() for name, weight in found.items()}
    safetensors.save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def usual_targets(model_type: str) -> tuple[str, ...]:
    """The layers that peft gives adapters to in models of this type, where none are named.

    Raises:
        ModelError: it knows no such type.
    """
    known = need("peft.utils", "train").TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    if model_type not in known:
        raise ModelError(f"which layers of {model_type} models are to learn is not known", remedy="name targets")
    return tuple(known[model_type])
