"""Low-rank adapters beside a model's linear layers, through peft: put there, one of them used, written to a folder.

In come a model and checked adapters; the model is changed in place. Weights are read from safetensors alone. Knows no
training and no task.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmops.core.errors import ModelError, need
from slmops.core.files import write_whole
from slmops.core.mistakes import nearest
from slmops.models.adapters import CONFIG, WEIGHTS, Adapter, AdapterCard
from slmops.models.folder import write_card

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "base_model.model."  # what peft puts before the names of the model's own modules


def attach(model: nn.Module, adapters: Mapping[str, Adapter]) -> Any:
    """Puts `adapters` beside the model's layers, in place, none of them used; returns peft's own model around it.

    Raises:
        ModelError: the model has no such layer, or one of another shape.
    """
    torch, peft = need("torch", "train"), need("peft", "train")
    wrapped: Any = None
    for name, adapter in adapters.items():
        layers = dict(model.named_modules())
        for module, (inputs, outputs) in adapter.modules.items():
            layer: Any = layers.get(module)
            layer = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
            if not isinstance(layer, torch.nn.Linear):
                raise ModelError(
                    f"the model has no linear layer {module}", where=str(adapter.folder), remedy=nearest(module, layers)
                )
            if (layer.in_features, layer.out_features) != (inputs, outputs):
                raise ModelError(
                    f"{module} has {layer.in_features} inputs and {layer.out_features} outputs, the adapter is for "
                    f"{inputs} and {outputs}",
                    where=str(adapter.folder),
                    remedy="give the base that it was made for",
                )
        config = peft.LoraConfig(
            r=adapter.rank,
            lora_alpha=adapter.scale * adapter.rank,
            use_dora=adapter.dora,
            target_modules=list(adapter.modules),
            inference_mode=True,
        )
        with warnings.catch_warnings():  # peft 0.21 asks transformers 5 by a name that is going away
            warnings.simplefilter("ignore", FutureWarning)
            if wrapped is None:
                wrapped = peft.PeftModel(model, config, name)
            else:
                wrapped.add_adapter(name, config)
        tensors = need("safetensors.torch", "train").load_file(adapter.folder / WEIGHTS)
        with torch.no_grad():
            for module, layer in lora_layers(model, name):
                for part, weight in _parts(layer, name).items():
                    weight.copy_(tensors[f"{PREFIX}{module}.{part}"])
    use(model, None)
    return wrapped


def layers_of(adapters: Iterable[Adapter]) -> nn.Module:
    """A model of nothing but the linear layers that `adapters` are for, all zero and without memory of their own: what
    they need to be merged with one another.

    Raises:
        ModelError: one is for a layer that another has in other shapes, or that no model can have.
    """
    torch = need("torch", "train")
    model = torch.nn.Module()
    for adapter in adapters:
        for module, (inputs, outputs) in adapter.modules.items():
            *parents, name = module.split(".")
            place = model
            try:
                for parent in parents:
                    if parent not in place._modules:
                        place.add_module(parent, torch.nn.Module())
                    place = place.get_submodule(parent)
                if name not in place._modules:
                    layer = torch.nn.Linear(inputs, outputs, bias=False, device="meta")
                    layer.weight = torch.nn.Parameter(torch.zeros(1, 1).expand(outputs, inputs), requires_grad=False)
                    place.add_module(name, layer)
            except KeyError as error:
                raise ModelError(f"no layer can be called {module}", where=str(adapter.folder)) from error
    return model


def use(model: nn.Module, name: str | None) -> None:
    """Lets the model compute with adapter `name` from now on; with none, as if there were none."""
    for _, layer in lora_layers(model):
        layer.enable_adapters(name is not None)
        if name is not None:
            layer.set_adapter(name, inference_mode=True)


def lora_layers(model: nn.Module, name: str | None = None) -> Iterator[tuple[str, Any]]:
    """(module, layer) of those that have an adapter; that have adapter `name`, if given."""
    kind = need("peft.tuners.lora", "train").LoraLayer
    for module, layer in model.named_modules():
        if isinstance(layer, kind) and (name is None or name in layer.lora_A):
            yield module, layer


def write_adapter(model: nn.Module, name: str, folder: Path, card: AdapterCard | None, base_name: str) -> None:
    """Writes adapter `name` of `model` as peft does, with our card, into the folder, which is there."""
    peft = need("peft", "train")
    tensors, rank, scale, dora = {}, 0, 0.0, False
    layers = dict(lora_layers(model, name))
    for module, layer in layers.items():
        rank, scale, dora = layer.r[name], layer.scaling[name], name in layer.lora_magnitude_vector
        for part, weight in _parts(layer, name).items():
            tensors[f"{PREFIX}{module}.{part}"] = weight.detach().float().contiguous()
    need("safetensors.torch", "train").save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=scale * rank,
        use_dora=dora,
        target_modules=sorted(layers),
        inference_mode=True,
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_name,
    )
    told = config.to_dict() | {"target_modules": sorted(layers)}
    write_whole(folder / CONFIG, json.dumps(told, indent=2, sort_keys=True, default=str) + "\n")
    if card:
        write_card(folder, card)


def _parts(layer: Any, name: str) -> dict[str, Tensor]:
    """The weights of adapter `name` at one layer, called as in peft's files."""
    parts = {"lora_A.weight": layer.lora_A[name].weight, "lora_B.weight": layer.lora_B[name].weight}
    if name in layer.lora_magnitude_vector:
        parts["lora_magnitude_vector"] = layer.lora_magnitude_vector[name].weight
    return parts
